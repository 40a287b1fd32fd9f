package config

import (
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vpcprobe/probes"
)

// A field is one key of a mapping, as the tags of its Go declaration describe it.
type field struct {
	Key, Doc, Example string
	Default           string // comma-separated for a list
	Required          bool
	Enum              []string
	Pattern           string
	Min, Max          string
	Format            string // file, host, url, collector, regexp, resolver, finding, kind or listen
	Single            bool   // a list that may be written as its only item

	Type  reflect.Type
	index []int // in the struct
}

// fieldsOf returns the keys of the mapping that a struct stands for, in order.
// Those of a struct that is embedded by a pointer are among them.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Pointer {
			for _, f := range fieldsOf(sf.Type.Elem()) {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
			continue
		}
		tag := sf.Tag.Get
		if tag("config") == "" {
			continue
		}
		f := field{
			Key: tag("config"), Doc: tag("doc"), Example: tag("example"), Default: tag("default"),
			Required: tag("required") == "true", Pattern: tag("pattern"), Min: tag("min"), Max: tag("max"),
			Format: tag("format"), Single: tag("single") == "true", Type: sf.Type, index: []int{i},
		}
		if tag("enum") != "" {
			f.Enum = strings.Split(tag("enum"), ",")
		}
		fields = append(fields, f)
	}
	return fields
}

// shape says how a value is written.
type shape int

const (
	scalar shape = iota
	mapping
	list
	pacing // a mapping from words to durations
)

func shapeOf(t reflect.Type) shape {
	switch {
	case t == reflect.TypeFor[netip.Addr]():
		return scalar
	case t.Kind() == reflect.Struct:
		return mapping
	case t.Kind() == reflect.Slice:
		return list
	case t.Kind() == reflect.Map:
		return pacing
	}
	return scalar
}

// element is the type of a list's items, or of a pacing's values.
func element(t reflect.Type) reflect.Type {
	if t = t.Elem(); t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// blank returns a pointer to a new value of a type.
func blank(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	if target, ok := v.Interface().(*probes.Target); ok {
		target.Settings = new(probes.Settings)
	}
	return v
}

// A leaf is a value of the configuration outside of lists: what the layers
// (default, file, environment, flag) override as a whole.
type leaf struct {
	field
	path  string // dots between keys
	index []int  // of the field, from Config
}

// leaves returns the leaves of a struct.
func leaves(t reflect.Type, path string, at []int) []leaf {
	var all []leaf
	for _, f := range fieldsOf(t) {
		where := append(at[:len(at):len(at)], f.index...)
		if shapeOf(f.Type) == mapping {
			all = append(all, leaves(f.Type, join(path, f.Key), where)...)
			continue
		}
		all = append(all, leaf{f, join(path, f.Key), where})
	}
	return all
}

// Variable is the environment variable that overrides a leaf.
func (l leaf) Variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(l.path, ".", "_"))
}

// overridable reports whether the environment and flags may give the leaf.
func (l leaf) overridable() bool { return shapeOf(l.Type) == scalar }

func isDuration(t reflect.Type) bool { return t == reflect.TypeFor[time.Duration]() }
func isSecret(t reflect.Type) bool   { return t == reflect.TypeFor[probes.Secret]() }

// join and index make the paths of keys: targets[1].endpoint.id.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

var indexes = regexp.MustCompile(`\[\d+\]`)
