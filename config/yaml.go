package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parse reads the one YAML document of the file. Scalars stay as written. It
// returns nil for a file without content, and for one that cannot be read, of
// which it then complains.
func (d *decoder) parse(text []byte) *yaml.Node {
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := documents.Decode(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			d.brokenYAML(err, text)
		}
		return nil
	}
	switch err := documents.Decode(&second); {
	case err == nil:
		d.problem(second.Line, second.Column, "", "a second YAML document: the configuration is one document")
	case !errors.Is(err, io.EOF):
		d.brokenYAML(err, text)
		return nil
	}
	root := first.Content[0]
	d.lint(root, "")
	return root
}

// lint complains of YAML that means something else than it seems to: keys
// given twice, and content that is written elsewhere.
func (d *decoder) lint(n *yaml.Node, path string) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.at(n, path, "aliases are not supported: write the value out")
		return
	case n.Anchor != "":
		d.at(n, path, "anchors are not supported: remove the &"+clip(n.Anchor))
	case n.Style&yaml.TaggedStyle != 0:
		d.at(n, path, "YAML tags are not supported: remove the "+clip(n.Tag))
	}
	switch n.Kind {
	case yaml.MappingNode:
		d.lintKeys(n, path)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			d.lint(item, index(path, i))
		}
	}
}

func (d *decoder) lintKeys(n *yaml.Node, path string) {
	lines := map[string]int{} // by key in lower case
	for key, value := range pairs(n) {
		if key.Kind != yaml.ScalarNode {
			d.at(key, path, "a key must be a single word")
			d.twice[key] = true
			continue
		}
		below := join(path, clip(key.Value))
		if isMerge(key) {
			d.at(key, below, "merge keys are not supported: write the values out")
			d.twice[key] = true
		} else if line, ok := lines[strings.ToLower(key.Value)]; ok {
			d.at(key, below, fmt.Sprintf("given twice: first on line %d (keys are lower-case, and each is given once)", line))
			d.twice[key] = true
		} else {
			lines[strings.ToLower(key.Value)] = key.Line
		}
		d.lint(value, below)
	}
}

func isMerge(key *yaml.Node) bool { return key.Value == "<<" && key.Style == 0 }

// pairs returns the keys of a mapping with their values.
func pairs(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// absent reports whether a value was left out: null is the same as no key.
func absent(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// unknownAnchor is an error that the library gives without a line.
var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)

// plainWords say what the YAML library's errors usually come from.
var plainWords = []struct{ text, words string }{
	{"mapping values are not allowed", `a colon where no key is expected: check the indentation, and quote a value that holds ": "`},
	{"did not find expected key", "this line does not continue the mapping before it: check its indentation, quotes and brackets"},
	{"did not find expected '-' indicator", `this line does not continue the list before it: check its indentation and the "- "`},
	{"could not find expected ':'", `a key without ": ", or a line that is indented wrongly`},
	{"did not find expected ',' or", "a [ or { is not closed, or a comma is missing"},
	{"found unexpected end of stream", "a quote is not closed"},
	{"did not find expected node content", "a value is missing, or starts with a character that needs quotes"},
	{"cannot start any token", "a value that starts with this character needs quotes"},
	{"found unknown escape character", `an unknown escape after \: use 'single quotes' for text with backslashes`},
	{"mapping keys are not allowed", "a key where none is expected: check the indentation"},
	{"control characters are not allowed", "control characters: this is not a text file, or it was damaged"},
	{"UTF-8", "this is not UTF-8 text"},
	{"UTF-16", "this is not UTF-8 text"},
}

// yamlPrefix begins the errors of the YAML library. Their lines are of no use:
// of the place where the construct began, or one too low, or missing.
var yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

// brokenYAML reports a syntax error in plain words.
func (d *decoder) brokenYAML(err error, text []byte) {
	message := yamlPrefix.ReplaceAllString(err.Error(), "")
	if m := unknownAnchor.FindStringSubmatch(message); m != nil {
		line, column := find(text, "*"+m[1])
		d.problem(line, column, "", "aliases are not supported: write the value out")
		return
	}
	line, column, tab := brokenLine(text)
	if tab {
		d.problem(line, 1, "", "a tab in the indentation: YAML is indented with spaces")
		return
	}
	for _, p := range plainWords {
		if strings.Contains(message, p.text) {
			d.problem(line, column, "", p.words+" (YAML: "+clip(message)+")")
			return
		}
	}
	d.problem(line, column, "", "not YAML: "+clip(message))
}

// find returns line and column where a word stands first.
func find(text []byte, word string) (line, column int) {
	before, _, _ := bytes.Cut(text, []byte(word))
	lines := bytes.Split(before, []byte("\n"))
	return len(lines), utf8.RuneCount(lines[len(lines)-1]) + 1
}

// effort bounds the search for the broken line, in bytes read.
const effort = 16 << 20

// brokenLine finds the line that broke the YAML: the one after the longest
// piece of the file that can be read. If a quote or bracket is never closed, it
// is the one that opens it. tab says that the line is indented with a tab.
func brokenLine(text []byte) (line, column int, tab bool) {
	reader := &lineReader{text: text}
	readable(reader)
	last := reader.lines
	var ends []int
	for i, c := range text {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	line = max(1, last)
	for n, spent := min(last-1, len(ends)), 0; n >= 0 && spent < effort; n-- {
		if n == 0 || readable(bytes.NewReader(text[:ends[n-1]])) {
			line = n + 1
			break
		}
		spent += ends[n-1]
	}
	start := 0
	if line > 1 {
		start = ends[line-2]
	}
	indent := text[start : len(text)-len(bytes.TrimLeft(text[start:], " \t"))]
	return line, len(indent) + 1, bytes.ContainsRune(indent, '\t')
}

// readable reports whether all that r gives is YAML.
func readable(r io.Reader) bool {
	documents := yaml.NewDecoder(r)
	for {
		var n yaml.Node
		if err := documents.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// A lineReader hands out one line at a time and counts them, which tells how
// far its reader came.
type lineReader struct {
	text  []byte
	lines int  // begun
	amid  bool // the last line that was begun has more
}

func (r *lineReader) Read(b []byte) (int, error) {
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	if !r.amid {
		r.lines++
	}
	n := bytes.IndexByte(r.text, '\n') + 1
	if n == 0 {
		n = len(r.text)
	}
	n = copy(b, r.text[:n])
	r.amid = n > 0 && r.text[n-1] != '\n'
	r.text = r.text[n:]
	return n, nil
}

func atoi(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}
