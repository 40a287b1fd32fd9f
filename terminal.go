package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"vpcprobe/agent/report"
)

// style is what the terminal behind w can show. Color needs a terminal, and
// neither NO_COLOR nor TERM=dumb; symbols need a UTF-8 locale.
func style(w io.Writer) report.Style {
	s := report.Style{ASCII: !utf8Locale(os.Getenv)}
	f, ok := w.(*os.File)
	if !ok {
		return s
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return s // a file or a pipe
	}
	s.Width = int(size.Col)
	s.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

// utf8Locale reports whether the locale's characters are UTF-8. Containers
// often have no locale at all, and terminals that are not UTF-8 have become
// rare: no locale counts as UTF-8, C and POSIX do not.
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}
