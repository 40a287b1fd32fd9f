package config

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vpcprobe/probes"
)

// Print writes the effective configuration as a file that [Load] reads, with
// the origin of each value as a comment if asked for.
//
// It shows no secret: of those kept elsewhere it says where, a value that
// refers to the environment is printed as it was written, and what looks like
// a secret is redacted.
func (l *Loaded) Print(w io.Writer, origins bool) error {
	p := printer{l.Origins, origins}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(p.mapping(reflect.ValueOf(l.Config), "")); err != nil {
		return fmt.Errorf("printing the configuration: %w", err)
	}
	return e.Close()
}

type printer struct {
	origins  map[string]Origin
	comments bool
}

// mapping prints a struct; nil if there is nothing in it.
func (p printer) mapping(v reflect.Value, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		at := join(path, f.Key)
		value := p.value(v.FieldByIndex(f.index), at, f.Default != "")
		if value == nil {
			continue
		}
		if h, ok := v.Interface().(probes.Header); ok && f.Key == "value" && probes.NamesSecret(h.Name) && p.origins[at].Written == "" {
			value.Value = redacted
		}
		n.Content = append(n.Content, plain(f.Key), value)
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}

// value prints a value; nil if it is absent and has no default.
func (p printer) value(v reflect.Value, at string, always bool) *yaml.Node {
	switch shapeOf(v.Type()) {
	case mapping:
		return p.mapping(v, at)
	case list:
		return p.list(v, at)
	case pacing:
		return p.pacing(v.Interface().(map[string]time.Duration), at)
	}
	if _, given := p.origins[at]; !given && !always && v.IsZero() {
		return nil
	}
	return p.scalar(v, at)
}

func (p printer) list(v reflect.Value, at string) *yaml.Node {
	if v.Len() == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		item, below := reflect.Indirect(v.Index(i)), index(at, i)
		if shapeOf(item.Type()) == mapping {
			n.Content = append(n.Content, p.mapping(item, below))
		} else {
			n.Content = append(n.Content, p.item(item, at, below))
		}
	}
	return n
}

// item prints a scalar in a list, whose origin may be that of the list.
func (p printer) item(v reflect.Value, list, at string) *yaml.Node {
	n := p.scalar(v, at)
	if _, ok := p.origins[at]; !ok && p.comments {
		n.LineComment = p.origins[list].String()
	}
	return n
}

func (p printer) pacing(m map[string]time.Duration, at string) *yaml.Node {
	if len(m) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, kind := range slices.Sorted(maps.Keys(m)) {
		n.Content = append(n.Content, plain(kind), p.scalar(reflect.ValueOf(m[kind]), join(at, kind)))
	}
	return n
}

func (p printer) scalar(v reflect.Value, at string) *yaml.Node {
	n := plain(textOf(v))
	if written := p.origins[at].Written; written != "" {
		n = plain(written)
	} else if v.Kind() == reflect.Bool || v.CanInt() && !isDuration(v.Type()) || v.CanUint() {
		n.Tag = "" // a number or a truth value for every reader of YAML
	}
	if p.comments {
		n.LineComment = p.origins[at].String()
	}
	return n
}

// plain is a text that every reader of YAML reads as a text.
func plain(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.ContainsAny(s, "\n\r\t") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// textOf is a value as the file would have it.
func textOf(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		return durationText(value)
	case fmt.Stringer:
		return value.String()
	}
	if v.Kind() != reflect.String {
		return fmt.Sprint(v.Interface())
	}
	s := v.String()
	if holdsSecret(s) {
		s = scrubbed(s)
	}
	return unexpanded(s)
}

// durationText is a duration without the zeros that [time.Duration.String] has.
func durationText(t time.Duration) string {
	s := t.String()
	if t >= time.Minute {
		s = strings.TrimSuffix(s, "m0s")
		if len(s) < len(t.String()) {
			s += "m"
		}
		if trimmed, ok := strings.CutSuffix(s, "h0m"); ok {
			s = trimmed + "h"
		}
	}
	return s
}
