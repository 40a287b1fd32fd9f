package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Problem is one mistake, for the person who made it.
type Problem struct {
	File         string // the file's path as given, "environment" or "command line"
	Line, Column int    // from 1; 0 where there is none
	Key, Message string // such as targets[1].api; empty for a mistake in the YAML itself
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(position(p.File, p.Line, p.Column))
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	return b.String() + ": " + p.Message
}

// position is file:line:column, as editors and terminals know it.
func position(file string, line, column int) string {
	if line == 0 {
		return file
	}
	return file + ":" + strconv.Itoa(line) + ":" + strconv.Itoa(column)
}

// Problems are all mistakes, in the order of the file. As an error they say
// that nothing was done.
type Problems []Problem

// shown bounds how many problems an error prints, in case a file is no
// configuration at all.
const shown = 100

func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i == shown {
			fmt.Fprintf(&b, "and %d more\n", len(ps)-shown)
			break
		}
		b.WriteString(p.String() + "\n")
	}
	if len(ps) == 1 {
		return b.String() + "1 problem. Nothing was started."
	}
	return b.String() + strconv.Itoa(len(ps)) + " problems. Nothing was started."
}

// sorted returns the problems in the order of the file, each once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(min(b.Line, 1), min(a.Line, 1)), // what has no line goes last
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Key, b.Key))
	})
	return slices.Compact(ps)
}

// The sources of a value, in order of precedence.
const (
	SourceDefault = "default"
	SourceFile    = "file"
	SourceEnv     = "env"
	SourceFlag    = "flag"
)

// An Origin says where a value came from.
type Origin struct {
	Source       string // one of the Source constants
	File         string // for a file: its path as given
	Line, Column int    // for a file
	Name         string // the environment variable or the flag
	Written      string // the text in the file, where it refers to the environment: ${env:NAME}
	From         string // the key that the value was taken over from, if not its own
}

func (o Origin) String() string {
	var s string
	switch o.Source {
	case SourceFile:
		s = position(o.File, o.Line, o.Column)
	case SourceEnv, SourceFlag:
		s = o.Source + " " + o.Name
	default:
		s = "default"
	}
	if o.From != "" {
		s += " (" + o.From + ")"
	}
	return s
}
