package config

import (
	"fmt"
	"reflect"

	"vpcprobe/probes"
)

// share makes one of what is equal in the targets: most of many thousand
// differ in little more than their names. It is safe because nothing changes a
// configuration once it is loaded.
func share(targets []*probes.Target) {
	s := sharer{texts: map[string]string{}, lists: map[string]reflect.Value{}}
	for _, t := range targets {
		s.share(reflect.ValueOf(t).Elem())
	}
}

// A sharer knows the texts, lists and mappings that were met first.
type sharer struct {
	texts map[string]string
	lists map[string]reflect.Value // by type and content
}

func (s sharer) share(v reflect.Value) {
	switch {
	case v.Kind() == reflect.String:
		if _, ok := s.texts[v.String()]; !ok {
			s.texts[v.String()] = v.String()
		}
		v.SetString(s.texts[v.String()])
	case shapeOf(v.Type()) == mapping:
		for i := range v.NumField() {
			s.share(v.Field(i))
		}
	case v.Kind() == reflect.Slice, v.Kind() == reflect.Map:
		content := fmt.Sprintf("%#v", v.Interface())
		if _, ok := s.lists[content]; !ok {
			s.lists[content] = reflect.ValueOf(v.Interface())
		}
		v.Set(s.lists[content])
	}
}
