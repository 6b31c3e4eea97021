//go:build !linux

package main

import "syscall"

// childAttributes: systems other than Linux have no parent-death signal.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{}
}
