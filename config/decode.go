package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vpcprobe/probes"
)

// A decoder turns the nodes of the file into typed values, strictly, and
// collects what is wrong with them.
type decoder struct {
	file     string // as given
	folder   string // where relative files are
	env      map[string]string
	kinds    []string // nil if any is right
	findings []string // nil if any is right
	missing  func(*probes.Target) []string

	problems  Problems
	warnings  Problems
	origins   map[string]Origin   // of what the file gives, mappings and lists included
	wrong     map[string]bool     // the keys whose values could not be read
	mentioned map[string]bool     // the environment variables that the file refers to
	twice     map[*yaml.Node]bool // keys that lint has complained of already

	types    map[reflect.Type][]field
	patterns map[string]*regexp.Regexp
}

func newDecoder(o Options) *decoder {
	env := map[string]string{}
	for _, line := range o.Env {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	return &decoder{
		file: o.Path, folder: folderOf(o.Path), env: env, kinds: o.Kinds, findings: o.Findings, missing: o.Missing,
		origins: map[string]Origin{}, wrong: map[string]bool{}, mentioned: map[string]bool{},
		twice: map[*yaml.Node]bool{}, types: map[reflect.Type][]field{}, patterns: map[string]*regexp.Regexp{},
	}
}

// folderOf returns the absolute path of the folder that holds a file.
func folderOf(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Dir(path)
}

// most bounds how many problems are collected: a file with more is no
// configuration at all.
const most = 1000

func (d *decoder) problem(line, column int, key, message string) {
	switch {
	case len(d.problems) < most:
		d.problems = append(d.problems, Problem{d.file, line, column, key, message})
	case len(d.problems) == most:
		d.problems = append(d.problems, Problem{d.file, line, column, "", "too many problems: the rest is not listed"})
	}
}

// full reports whether further problems would not be listed.
func (d *decoder) full() bool { return len(d.problems) > most }

// at complains of a node.
func (d *decoder) at(n *yaml.Node, path, message string) {
	d.problem(n.Line, n.Column, path, message)
	d.wrong[path] = true
}

// given reports whether there is a value at a path that is no default, even a
// wrong one.
func (d *decoder) given(path string) bool {
	o, ok := d.origins[path]
	return ok && o.Source != SourceDefault
}

func (d *decoder) note(n *yaml.Node, path string) {
	d.origins[path] = Origin{Source: SourceFile, File: d.file, Line: n.Line, Column: n.Column}
}

func (d *decoder) fields(t reflect.Type) []field {
	if _, ok := d.types[t]; !ok {
		d.types[t] = fieldsOf(t)
	}
	return d.types[t]
}

func (d *decoder) pattern(p string) *regexp.Regexp {
	if _, ok := d.patterns[p]; !ok {
		d.patterns[p] = regexp.MustCompile(p)
	}
	return d.patterns[p]
}

// value decodes n into v, which is of the field's type.
func (d *decoder) value(n *yaml.Node, v reflect.Value, f field, path string) {
	d.note(n, path)
	if n.Kind == yaml.AliasNode {
		d.wrong[path] = true
		return // lint has said so
	}
	switch shapeOf(v.Type()) {
	case mapping:
		d.mapping(n, v, path)
	case list:
		d.list(n, v, f, path)
	case pacing:
		d.pacing(n, v, f, path)
	default:
		d.leaf(n, v, f, path)
	}
}

// mapping decodes the keys of n into the fields of the struct v, and fills in
// the defaults of those that are absent.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.at(n, path, notMapping(n, v.Type()))
		return
	}
	fields := d.fields(v.Type())
	for key, value := range pairs(n) {
		if d.twice[key] || d.full() {
			continue
		}
		i := fieldIndex(fields, key.Value)
		switch {
		case i < 0:
			d.at(key, join(path, clip(key.Value)), unknownKey(key.Value, v.Type(), path))
		case !absent(value):
			f := fields[i]
			d.value(value, v.FieldByIndex(f.index), f, join(path, f.Key))
		}
	}
	for _, f := range fields {
		if f.Required && !d.given(join(path, f.Key)) {
			d.at(n, join(path, f.Key), "is missing"+forExample(f))
		}
	}
}

func fieldIndex(fields []field, key string) int {
	for i, f := range fields {
		if f.Key == key {
			return i
		}
	}
	return -1
}

func forExample(f field) string {
	if f.Example == "" {
		return ""
	}
	return " (an example: " + f.Example + ")"
}

func notMapping(n *yaml.Node, t reflect.Type) string {
	switch {
	case isSecret(t):
		return "a secret is not written here: say where it is kept, {file: PATH} or {env: NAME}"
	case n.Kind == yaml.SequenceNode:
		return "must be a mapping of keys to values, not a list"
	}
	return "must be a mapping of keys to values, not a single value"
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, f field, path string) {
	if f.Single && n.Kind == yaml.ScalarNode {
		f.Type = element(v.Type())
		e := reflect.New(f.Type).Elem()
		d.value(n, e, f, path)
		v.Set(reflect.Append(v, e))
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.at(n, path, notList(n))
		return
	}
	for i, item := range n.Content {
		n.Content[i] = nil // of thousands of targets, those that are read need not stay beside those that are not
		at := index(path, i)
		if absent(item) {
			d.at(item, at, "an empty item")
			continue
		}
		f.Type = element(v.Type())
		e := blank(f.Type)
		d.value(item, e.Elem(), f, at)
		if v.Type().Elem().Kind() != reflect.Pointer {
			e = e.Elem()
		}
		v.Set(reflect.Append(v, e))
	}
	if f.Required && len(n.Content) == 0 {
		d.at(n, path, "must not be empty")
	}
}

func notList(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		return `must be a list, not a mapping: begin each item with "- "`
	}
	return fmt.Sprintf("must be a list, not a single value (try [%s])", clip(n.Value))
}

// pacing decodes a mapping from kinds of probe to durations.
func (d *decoder) pacing(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.MappingNode {
		d.at(n, path, notMapping(n, v.Type()))
		return
	}
	f.Type = element(v.Type())
	m := reflect.MakeMap(v.Type())
	for key, value := range pairs(n) {
		switch {
		case d.twice[key]:
			continue
		case d.kinds != nil && !slices.Contains(d.kinds, key.Value):
			d.at(key, join(path, clip(key.Value)), "unknown kind of probe"+Suggest(key.Value, d.kinds)+": one of "+strings.Join(d.kinds, ", "))
			continue
		case absent(value):
			continue
		}
		e := reflect.New(f.Type).Elem()
		d.value(value, e, f, join(path, clip(key.Value)))
		m.SetMapIndex(reflect.ValueOf(key.Value), e)
	}
	if m.Len() > 0 {
		v.Set(m)
	}
}

func (d *decoder) leaf(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.ScalarNode {
		d.at(n, path, "must be a single value, not "+map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}[n.Kind])
		return
	}
	text, refers, err := d.expand(n.Value)
	if err == nil {
		var read reflect.Value
		if read, err = d.scalar(text, f, d.folder); err == nil {
			v.Set(read)
		}
	}
	if err != nil {
		d.at(n, path, err.Error())
		return
	}
	if refers {
		o := d.origins[path]
		o.Written = n.Value
		d.origins[path] = o
	}
}
