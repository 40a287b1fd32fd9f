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
	s := sharer{texts: map[string]string{}, parts: map[string]reflect.Value{}}
	for _, t := range targets {
		s.share(reflect.ValueOf(t).Elem())
	}
}

// A sharer knows the texts, and all else that texts are not, that were met
// first.
type sharer struct {
	texts map[string]string
	parts map[string]reflect.Value // lists, mappings and settings, by type and content
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
	case v.Kind() == reflect.Pointer:
		s.share(v.Elem())
		s.one(v, v.Elem())
	case v.Kind() == reflect.Slice, v.Kind() == reflect.Map:
		s.one(v, v)
	}
}

// one replaces v by the first that had this content.
func (s sharer) one(v, content reflect.Value) {
	key := fmt.Sprintf("%#v", content.Interface())
	if _, ok := s.parts[key]; !ok {
		s.parts[key] = reflect.ValueOf(v.Interface())
	}
	v.Set(s.parts[key])
}
