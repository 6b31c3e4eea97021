//go:build !linux

package dev

import "syscall"

// childAttributes: systems other than Linux have no parent-death signal.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{}
}

// locked: whose lock a file is cannot be told everywhere.
func locked(string) bool { return false }
