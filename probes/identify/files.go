package identify

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxFile bounds what is read of one file, in bytes. A truststore has at most
// 1 MB (API Gateway Developer Guide, rest-api-mutual-tls); more is read so
// that a longer one can be judged, and because other bundles are longer.
const maxFile = 4 << 20

// A Cache keeps what was made of files until one of them changes. Files are
// replaced under a running agent: certificates are renewed, secrets are
// mounted anew.
type Cache[T any] struct {
	mu   sync.Mutex
	kept map[string]*kept[T] // by paths
}

// A kept is what was made of some files; each has a lock, so that a file on a
// mount that hangs does not keep others from being read.
type kept[T any] struct {
	sync.Mutex
	stamps []stamp // nil if nothing was made yet
	glance glance
	made   T
}

// A stamp tells one state of a file from the next.
type stamp struct {
	info os.FileInfo
	size int64
	time time.Time
}

func (s stamp) same(t stamp) bool {
	return s.size == t.size && s.time.Equal(t.time) && os.SameFile(s.info, t.info)
}

// Get returns what made made of the contents of the files at the given paths,
// calling it only when one of the files has another time of modification, size
// or inode than when it was last called. An error is not kept: the files are read
// again next time.
func (c *Cache[T]) Get(made func(contents [][]byte) (T, error), paths ...string) (T, error) {
	k := c.at(strings.Join(paths, "\x00"))
	k.Lock()
	defer k.Unlock()
	if k.stamps != nil && k.glance.unchanged(paths) {
		return k.made, nil
	}
	k.glance = nil // who knows where the files are by now
	var none T
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return none, err
		}
		stamps[i] = stamp{info, info.Size(), info.ModTime()}
	}
	if slices.EqualFunc(k.stamps, stamps, stamp.same) {
		return k.made, nil
	}
	glance := glanceAt(paths)
	contents := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		if contents[i], err = ReadFile(path); err != nil {
			return none, err
		}
	}
	m, err := made(contents)
	if err != nil {
		return none, err
	}
	k.stamps, k.made, k.glance = stamps, m, glance
	return m, nil
}

func (c *Cache[T]) at(key string) *kept[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept[key]
	if k == nil {
		if c.kept == nil {
			c.kept = map[string]*kept[T]{}
		}
		k = new(kept[T])
		c.kept[key] = k
	}
	return k
}

// ReadFile reads a regular file of bounded size. Its errors name the file.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening: to open a named pipe may wait for ever
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errNotRegular}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxFile:
		return nil, &fs.PathError{Op: "read", Path: path, Err: errTooLong}
	case len(b) == 0:
		return nil, &fs.PathError{Op: "read", Path: path, Err: errEmpty}
	}
	return b, nil
}

var (
	errNotRegular = errors.New("not a regular file")
	errTooLong    = errors.New("more than 4 MB")
	errEmpty      = errors.New("the file is empty")
)
