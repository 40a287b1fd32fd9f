package service

import (
	"os"

	"golang.org/x/sys/unix"
)

// UnmapProgram gives back the pages of the program's file. Those that are
// needed on are mapped again as they are touched, mostly out of the page cache.
// Half of what is mapped is run at the start only (measured: 7 of 15 MB).
// Elsewhere than on Linux it does nothing.
func UnmapProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, e := range untouched(f, program) {
		unix.Syscall(unix.SYS_MADVISE, e.start, e.length, unix.MADV_DONTNEED)
	}
}
