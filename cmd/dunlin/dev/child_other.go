//go:build !linux

package dev

import "syscall"

// childAttributes: systems other than Linux have no parent-death signal.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{}
}
