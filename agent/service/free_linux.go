package service

import (
	"os"

	"golang.org/x/sys/unix"
)

// unmapFiles drops the pages of mapped files from our page tables.
func unmapFiles() {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, e := range untouched(f) {
		unix.Syscall(unix.SYS_MADVISE, e.start, e.length, unix.MADV_DONTNEED)
	}
}
