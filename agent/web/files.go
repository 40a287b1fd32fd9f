package web

import (
	"fmt"
	"io"
	"os"
	"time"
)

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// settled is how old a file must be before its time tells of every change:
// clocks of file systems are coarse.
const settled = time.Second

// files are the files that something was made of, by path, as they were then.
type files map[string]version

// A version tells one content of a file from another. Its zero value is a
// file that cannot be read.
type version struct {
	info os.FileInfo
	hot  bool // so new that a further change might not show
}

// read returns a file's content and remembers its version.
func (f files) read(path string) ([]byte, error) {
	v := look(path) // before reading: a change in between shows next time
	b, err := readFile(path)
	if err != nil && v.info != nil {
		v.hot = true // it is there: what was in the way shows in no time of the file
	}
	f[path] = v
	return b, err
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, err
}

func look(path string) version {
	info, err := os.Stat(path)
	if err != nil {
		return version{}
	}
	return version{info, time.Since(info.ModTime()) < settled}
}

// changed reports whether one of the files may have another content by now.
func (f files) changed() bool {
	for path, was := range f {
		is := look(path)
		switch {
		case was.hot, (is.info == nil) != (was.info == nil):
			return true
		case is.info == nil:
		case !os.SameFile(is.info, was.info), is.info.Size() != was.info.Size(), !is.info.ModTime().Equal(was.info.ModTime()):
			return true
		}
	}
	return false
}
