package service

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// LimitMemory makes the garbage collector work harder before the cgroup's
// memory runs out rather than let the kernel kill the process: it sets Go's
// soft limit to 90 % of the lowest limit on the process' cgroup and those
// above it. It leaves GOGC alone, and the limit too if GOMEMLIMIT is set. It
// returns the limit set and the file that asks for it, 0 if none. The root is
// os.DirFS("/").
func LimitMemory(root fs.FS) (bytes int64, file string) {
	if _, set := os.LookupEnv("GOMEMLIMIT"); set {
		return 0, ""
	}
	bytes, file = memoryLimit(root)
	if bytes == 0 {
		return 0, ""
	}
	bytes = bytes / 10 * 9
	debug.SetMemoryLimit(bytes)
	return bytes, "/" + file
}

// unlimited is from where on a limit is none: version 1 writes the largest
// multiple of a page, version 2 "max".
const unlimited = 1 << 60

// memoryLimit returns the lowest memory limit on the process and the file that
// says so. See cgroups(7) and the kernel's cgroup-v2 and memory documents.
func memoryLimit(root fs.FS) (lowest int64, from string) {
	lowest = math.MaxInt64
	for _, file := range limitFiles(root) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue // not all levels have one, and containers do not see all
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 && n < unlimited && n < lowest {
			lowest, from = n, file
		}
	}
	if from == "" {
		return 0, ""
	}
	return lowest, from
}

// limitFiles lists the files that may limit the process' memory.
func limitFiles(root fs.FS) []string {
	v1, v2 := cgroups(root)
	var files []string
	if v1 != "" {
		for _, dir := range upwards(v1) {
			files = append(files, path.Join("sys/fs/cgroup/memory", dir, "memory.limit_in_bytes"))
		}
	}
	if v2 != "" {
		for _, dir := range upwards(v2) {
			files = append(files, path.Join("sys/fs/cgroup", dir, "memory.max"), path.Join("sys/fs/cgroup", dir, "memory.high"))
		}
	}
	return files
}

// cgroups returns the process' cgroups with regard to memory: that of version
// 1, that of version 2, or both where they are mixed; "" if there is none.
func cgroups(root fs.FS) (v1, v2 string) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return "", "" // not Linux, or nothing that we may know
	}
	for entry := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(entry), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[0] == "0" && fields[1] == "":
			v2 = path.Clean("/" + fields[2])
		case slices.Contains(strings.Split(fields[1], ","), "memory"):
			v1 = path.Clean("/" + fields[2])
		}
	}
	return v1, v2
}

// upwards lists a directory and those above it.
func upwards(dir string) []string {
	dirs := []string{dir}
	for dir != "/" {
		dir = path.Dir(dir)
		dirs = append(dirs, dir)
	}
	return dirs
}
