package service

import (
	"bufio"
	"io"
	"runtime/debug"
	"strconv"
	"strings"
)

// FreeMemory gives back what was needed once, as for reading a configuration:
// the heap that is free now, and the pages of the program.
func FreeMemory() {
	debug.FreeOSMemory()
	UnmapProgram()
}

// An extent is a part of the address space.
type extent struct{ start, length uintptr }

// untouched returns the mappings of a file that nobody can have written to, as
// a smaps file lists them (proc_pid_smaps(5)): they are read-only, and none of
// their pages is a copy, in memory or in swap space. A page that the loader
// relocated is one.
func untouched(smaps io.Reader, file string) (all []extent) {
	var current extent
	pure := func() {
		if current.length > 0 {
			all = append(all, current)
		}
		current = extent{}
	}
	s := bufio.NewScanner(smaps)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) == 3 && (fields[0] == "Anonymous:" || fields[0] == "Swap:"):
			if fields[1] != "0" {
				current = extent{}
			}
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			pure()
			if strings.HasPrefix(fields[1], "r-") && strings.Join(fields[5:], " ") == file {
				current = extentOf(fields[0])
			}
		}
	}
	pure()
	return all
}

// extentOf reads START-END, in hexadecimal; it is empty if that makes no sense.
func extentOf(text string) extent {
	from, to, _ := strings.Cut(text, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || end < start {
		return extent{}
	}
	return extent{uintptr(start), uintptr(end - start)}
}
