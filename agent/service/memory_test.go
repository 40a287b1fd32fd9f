package service

import (
	"math"
	"os"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

// files makes a file system of paths and contents in turn.
func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

func TestMemoryLimit(t *testing.T) {
	const cgroup = "proc/self/cgroup"
	tests := []struct {
		name  string
		files fstest.MapFS
		want  int64
		from  string
	}{
		{"not Linux", files(), 0, ""},
		{"version 2 in a container", files(cgroup, "0::/\n", "sys/fs/cgroup/memory.max", "134217728\n"), 134217728, "sys/fs/cgroup/memory.max"},
		{"version 2 without a limit", files(cgroup, "0::/\n", "sys/fs/cgroup/memory.max", "max\n"), 0, ""},
		{"version 2 as a unit", files(cgroup, "0::/system.slice/vpcprobe.service\n",
			"sys/fs/cgroup/system.slice/vpcprobe.service/memory.max", "67108864\n",
			"sys/fs/cgroup/system.slice/memory.max", "max\n"), 67108864, "sys/fs/cgroup/system.slice/vpcprobe.service/memory.max"},
		{"the slice allows less than the unit", files(cgroup, "0::/system.slice/vpcprobe.service\n",
			"sys/fs/cgroup/system.slice/vpcprobe.service/memory.max", "67108864\n",
			"sys/fs/cgroup/system.slice/memory.max", "33554432\n"), 33554432, "sys/fs/cgroup/system.slice/memory.max"},
		{"throttled before it is killed", files(cgroup, "0::/a\n", "sys/fs/cgroup/a/memory.max", "67108864\n", "sys/fs/cgroup/a/memory.high", "50331648\n"), 50331648, "sys/fs/cgroup/a/memory.high"},
		{"outside its name space", files(cgroup, "0::/../../a\n", "sys/fs/cgroup/a/memory.max", "67108864\n"), 67108864, "sys/fs/cgroup/a/memory.max"},
		{"version 1 in a container, named as on the host", files(cgroup, "4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"), 268435456, "sys/fs/cgroup/memory/memory.limit_in_bytes"},
		{"version 1 without a limit", files(cgroup, "3:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 0, ""},
		{"both versions", files(cgroup, "3:memory:/a\n0::/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n"), 1048576, "sys/fs/cgroup/memory/a/memory.limit_in_bytes"},
		{"nonsense", files(cgroup, "::\n\nmemory\n0::/\n", "sys/fs/cgroup/memory.max", "-5\n"), 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, from := memoryLimit(tt.files)
			if got != tt.want || from != tt.from {
				t.Errorf("the limit is %d from %q, want %d from %q", got, from, tt.want, tt.from)
			}
		})
	}
}

// limited runs f and puts the process' limit back.
func limited(t *testing.T, f func()) {
	t.Helper()
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	debug.SetMemoryLimit(math.MaxInt64)
	f()
}

func TestLimitMemory(t *testing.T) {
	root := files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1073741824\n")
	t.Setenv("GOMEMLIMIT", "")
	os.Unsetenv("GOMEMLIMIT")
	limited(t, func() {
		const want = 966367638 // 90 % of 1 GiB, rounded down to a multiple of 9
		if got, file := LimitMemory(root); got != want || file != "/sys/fs/cgroup/memory.max" {
			t.Errorf("it says %d and %s, want %d and the cgroup's file", got, file, want)
		}
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("the runtime's limit is %d, want %d", got, want)
		}
	})
	limited(t, func() {
		if got, _ := LimitMemory(files()); got != 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
			t.Errorf("without a cgroup the limit is %d", got)
		}
	})
}

// Whoever sets GOMEMLIMIT, even to off, has decided.
func TestGOMEMLIMITWins(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "off")
	limited(t, func() {
		got, _ := LimitMemory(files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1073741824\n"))
		if got != 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
			t.Errorf("the limit was set to %d", got)
		}
	})
}

// The machine's own files can be read, whatever they say.
func TestMemoryLimitOfThisMachine(t *testing.T) {
	bytes, file := memoryLimit(os.DirFS("/"))
	if (bytes == 0) != (file == "") || bytes < 0 || bytes >= unlimited {
		t.Errorf("the limit is %d from %q", bytes, file)
	}
}
