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

// untouched returns the mappings of files that nobody can have written to, as
// a smaps file lists them (proc_pid_smaps(5)): they are read-only, and none of
// their pages is a copy. A page that the loader relocated is one.
func untouched(smaps io.Reader) (all []extent) {
	var current extent
	s := bufio.NewScanner(smaps)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) == 3 && fields[0] == "Anonymous:":
			if fields[1] == "0" && current.length > 0 {
				all = append(all, current)
			}
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			current = extent{}
			if len(fields) > 5 && strings.HasPrefix(fields[5], "/") && strings.HasPrefix(fields[1], "r-") {
				current = extentOf(fields[0])
			}
		}
	}
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
