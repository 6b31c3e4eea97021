package dev

import (
	"os"
	"syscall"
)

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// reaches only the parent, and ends it should the parent be killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// locked reports whether another process holds the lock that is such a file.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false // there is none
	}
	lock := syscall.Flock_t{Type: syscall.F_RDLCK}
	err = syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock)
	return f.Close() == nil && err == nil && lock.Type != syscall.F_UNLCK
}
