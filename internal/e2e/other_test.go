//go:build !linux

package e2e

import "testing"

func TestProcesses(t *testing.T) {
	t.Skip("needs a loopback address for each node, which only Linux has")
}
