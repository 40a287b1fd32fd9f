package identify

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A glance sees what a look at the files would see, and claims nothing of files that
// it must not look at.
func TestGlance(t *testing.T) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	fresh := func() glance {
		for _, path := range paths {
			if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return glanceAt(paths)
	}
	if !fresh().unchanged(paths) {
		t.Skipf("SKIP: files in %s are not glanced at: no Linux, or a filesystem that may hang", dir)
	}
	two := paths[1]
	for name, change := range map[string]func() error{
		"written": func() error { return os.WriteFile(two, []byte("longer than it was, by far"), 0o600) },
		"dated":   func() error { return os.Chtimes(two, time.Now(), time.Now().Add(time.Hour)) },
		"replaced": func() error {
			before, err := os.Stat(two)
			if err != nil {
				return err
			}
			if err := os.WriteFile(two+".new", []byte(two), 0o600); err != nil {
				return err
			}
			if err := os.Chtimes(two+".new", before.ModTime(), before.ModTime()); err != nil {
				return err
			}
			return os.Rename(two+".new", two)
		},
		"removed": func() error { return os.Remove(two) },
	} {
		g := fresh()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if g.unchanged(paths) {
			t.Errorf("%s: it was not seen", name)
		}
	}
	if g := fresh(); g.unchanged([]string{paths[0], "/proc/self/status"}) || glanceAt([]string{"/proc/self/status"}) != nil {
		t.Error("a file that is not on a disk or in memory was glanced at")
	}
}
