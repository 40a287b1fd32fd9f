package service

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const smaps = `00400000-00bf2000 r-xp 00000000 fe:00 10772826                           /usr/bin/vpcprobe
Size:               8136 kB
Rss:                6000 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00bf2000-00cf2000 r--p 007f2000 fe:00 10772826                           /usr/bin/vpcprobe
Anonymous:             4 kB
Swap:                  0 kB
00cf2000-00df2000 r--p 007f2000 fe:00 10772826                           /usr/bin/vpcprobe
Anonymous:             0 kB
Swap:                 16 kB
00df2000-00ef2000 r--p 007f2000 fe:00 10772826                           /usr/bin/vpcprobe
Anonymous:             0 kB
01000000-01100000 rw-p 010b5000 fe:00 10772826                           /usr/bin/vpcprobe
Anonymous:             0 kB
7ffff7a00000-7ffff7b00000 r-xp 00000000 fe:00 4711                       /lib/libc.so.6
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0                              [anon: Go: heap]
Anonymous:          2000 kB
7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0                          [vvar]
Anonymous:             0 kB
7ffff7fc5000-7ffff7fc7000 r-xp 00000000 00:00 0
Anonymous:             0 kB
`

func TestUntouched(t *testing.T) {
	want := []extent{{0x400000, 0x7f2000}, {0xdf2000, 0x100000}}
	if diff := cmp.Diff(want, untouched(strings.NewReader(smaps), "/usr/bin/vpcprobe"), cmp.AllowUnexported(extent{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	replaced := strings.ReplaceAll(smaps, "/usr/bin/vpcprobe", "/usr/bin/vpcprobe (deleted)")
	if diff := cmp.Diff(want, untouched(strings.NewReader(replaced), "/usr/bin/vpcprobe (deleted)"), cmp.AllowUnexported(extent{})); diff != "" {
		t.Errorf("replaced meanwhile (-want +got):\n%s", diff)
	}
	for _, s := range []string{"", "Anonymous: 0 kB\n", "x-y r-xp 0 0 0 /bin/x\nAnonymous: 0 kB\n", "2-1 r-xp 0 0 0 /bin/x\nAnonymous: 0 kB\n"} {
		if got := untouched(strings.NewReader(s), "/bin/x"); got != nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// mapped is how many kB of files are mapped, by the kernel's word.
func mapped(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "RssFile:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Skip("SKIP: this kernel does not count RssFile")
	return 0
}

func TestUnmapProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIP: only Linux has smaps")
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe.Close()
	before := mapped(t)
	UnmapProgram()
	if after := mapped(t); after >= before {
		t.Errorf("%d kB of files mapped, before %d", after, before)
	}
}
