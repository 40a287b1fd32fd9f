package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// A Style says what the terminal can show. Whoever calls decides: color only
// on a terminal that wants it, ASCII where the locale is not UTF-8.
type Style struct {
	Color bool // ANSI colors
	ASCII bool // no character beyond ASCII
	Width int  // columns; 80 if unknown
}

const (
	defaultWidth = 80
	minWidth     = 40
	maxWidth     = 100 // longer lines are hard to read
)

// A mark says at a glance how something went.
type mark int

const (
	good mark = iota
	warn
	bad
	none
)

var marks = [...]struct{ sign, ascii, color string }{
	good: {"✓", "OK", "32"},
	warn: {"‼", "!!", "33"},
	bad:  {"✗", "XX", "31"},
	none: {"–", "--", "2"},
}

// A printer writes lines in a style and remembers the first error.
type printer struct {
	w      io.Writer
	style  Style
	width  int
	indent string // before labels
	begun  bool   // something was printed
	err    error
}

func newPrinter(w io.Writer, style Style) *printer {
	width := style.Width
	if width <= 0 {
		width = defaultWidth
	}
	return &printer{w: w, style: style, width: min(max(width, minWidth), maxWidth), indent: "    "}
}

// line prints a line. What comes from outside must pass clean first; bold and
// the like do that.
func (p *printer) line(format string, args ...any) {
	if p.err != nil {
		return
	}
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	if p.style.ASCII {
		text = toASCII(text)
	}
	p.begun = true
	_, p.err = io.WriteString(p.w, text+"\n")
}

func (p *printer) mark(m mark) string {
	sign := marks[m].sign
	if p.style.ASCII {
		sign = marks[m].ascii
	}
	return p.colored(m, sign)
}

func (p *printer) colored(m mark, text string) string { return p.sgr(marks[m].color, text) }
func (p *printer) bold(text string) string            { return p.sgr("1", text) }
func (p *printer) faint(text string) string           { return p.sgr("2", text) }

func (p *printer) sgr(code, text string) string {
	text = clean(text)
	if !p.style.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// row prints an observation: mark, who, time and text in columns, the text
// wrapped under itself. Where who is too long, the text begins a line below.
func (p *printer) row(r row, who, took int) {
	lead := "  " + p.mark(r.mark) + " " + clean(r.who)
	if width(r.who) > who {
		p.line("%s", lead)
		lead = strings.Repeat(" ", 3+p.signWidth()+who)
	} else {
		lead += strings.Repeat(" ", who-width(r.who))
	}
	if took > 0 {
		lead += "  " + strings.Repeat(" ", took-width(r.took)) + p.faint(r.took)
	}
	column := 3 + p.signWidth() + who
	if took > 0 {
		column += 2 + took
	}
	if who+took > 0 {
		lead, column = lead+"  ", column+2
	}
	if p.width-column < minWidth/2 { // too narrow a column to read
		p.line("%s", lead)
		under := strings.Repeat(" ", 4+p.signWidth())
		p.hang(under, under, clean(r.text))
		return
	}
	p.hang(lead, strings.Repeat(" ", column), clean(r.text))
}

func (p *printer) signWidth() int {
	if p.style.ASCII {
		return 2
	}
	return 1
}

// labeled prints a paragraph beside its label.
func (p *printer) labeled(label, text string) {
	const column = 8
	p.hang(p.indent+p.faint(fmt.Sprintf("%-*s", column, label)), p.indent+strings.Repeat(" ", column), clean(text))
}

// hang prints a paragraph after a lead, and its further lines after an indent.
// Words are not broken: a command that is wrapped can still be copied.
func (p *printer) hang(lead, indent, text string) {
	line, empty := lead, true
	for word := range strings.FieldsSeq(text) {
		if !empty && width(line)+1+width(word) > p.width {
			p.line("%s", line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	p.line("%s", line)
}

// width is the number of columns that a text takes: its runes, without
// escapes.
func width(text string) int {
	n, escape := 0, false
	for _, r := range text {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

// clean takes out what could move the cursor or hide text. Evidence is
// scrubbed where it is taken; this is the last line of defense.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
}

// plain stands for the characters that our own prose uses.
var plain = strings.NewReplacer("…", "...", "–", "-", "—", "-", "→", "->", "×", "x", "µ", "u", "‘", "'", "’", "'", "“", `"`, "”", `"`, "≥", ">=", "≤", "<=")

func toASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, plain.Replace(text))
}

func severityMark(s probes.Severity) mark {
	switch s {
	case probes.Error:
		return bad
	case probes.Warning:
		return warn
	}
	return none
}

func verdictMark(v agent.Verdict) mark {
	switch v {
	case agent.Reachable:
		return good
	case agent.Degraded:
		return warn
	case agent.Unreachable:
		return bad
	}
	return none
}
