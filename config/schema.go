package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"

	"vpcprobe/probes"
)

// Schema returns the JSON Schema (2020-12) of the configuration file, for
// editors and for checks before deployment. It accepts every file that [Load]
// accepts, in the form in which other readers of YAML see it, and refuses most
// of the others; only Load sees all mistakes. kinds and findings are as in
// [Options].
func Schema(kinds, findings []string) ([]byte, error) {
	s := schema{kinds, findings}
	root := s.mapping(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "vpcprobe configuration"
	root["type"] = "object"
	root["$defs"] = object{"expansion": object{
		"type": "string", "pattern": `\$\{env:[A-Za-z_][A-Za-z0-9_]*\}`,
		"description": "A value from the environment.",
	}}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(text, '\n'), nil
}

type object = map[string]any

type schema struct{ kinds, findings []string }

// mapping describes a struct. Like every other value it may be null, which is
// the same as absent.
func (s schema) mapping(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		properties[f.Key] = s.field(f)
		if f.Required {
			required = append(required, f.Key)
		}
	}
	o := object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	maps.Copy(o, together(t))
	return o
}

// field describes a key.
func (s schema) field(f field) object {
	o := s.value(f)
	o["description"] = f.Doc
	if f.Min != "" && isDuration(f.Type) {
		o["description"] = f.Doc + " At least " + f.Min + "."
	}
	if f.Default != "" {
		o["default"] = jsonValue(f, f.Default)
	}
	if f.Example != "" && shapeOf(f.Type) == scalar {
		o["examples"] = []any{jsonValue(f, f.Example)}
	}
	return o
}

func (s schema) value(f field) object {
	switch shapeOf(f.Type) {
	case mapping:
		return s.mapping(f.Type)
	case list:
		return s.list(f)
	case pacing:
		return s.pacing(f)
	}
	o := s.scalar(f)
	if _, free := o["type"]; free && len(o) == 1 {
		return o
	}
	return object{"anyOf": []object{o, {"$ref": "#/$defs/expansion"}}}
}

func (s schema) list(f field) object {
	o := object{"type": []string{"array", "null"}}
	if f.Required {
		o["type"], o["minItems"] = "array", 1
	}
	f.Type = element(f.Type)
	items := s.value(f)
	if shapeOf(f.Type) == mapping {
		items["type"] = "object"
	}
	o["items"] = items
	if f.Single {
		return object{"anyOf": []object{o, items}}
	}
	return o
}

func (s schema) pacing(f field) object {
	f.Type = element(f.Type)
	o := object{"type": []string{"object", "null"}}
	if s.kinds == nil {
		o["additionalProperties"] = s.value(f)
		return o
	}
	properties := object{}
	for _, kind := range s.kinds {
		properties[kind] = s.value(f)
	}
	o["properties"], o["additionalProperties"] = properties, false
	return o
}

// scalar describes a single value. Texts may look like numbers: the id
// 0123456701 is one to other readers of YAML.
func (s schema) scalar(f field) object {
	lowest, highest := 0, 0
	switch {
	case isDuration(f.Type):
		return object{"type": []string{"string", "null"}, "pattern": durations}
	case f.Type.Kind() == reflect.Bool:
		return object{"enum": []any{true, false, "true", "false", nil}}
	case f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Uint16:
		lowest, highest = bounds(f)
		return object{"type": []string{"integer", "string", "null"}, "minimum": lowest, "maximum": highest, "pattern": "^[0-9]+$"}
	case f.Enum != nil:
		return object{"enum": orNull(f.Enum)}
	case f.Format == "url":
		return object{"type": []string{"string", "null"}, "pattern": urls}
	case f.Format == "collector":
		return object{"type": []string{"string", "null"}, "pattern": collectors}
	case f.Format == "finding" && s.findings != nil:
		return object{"enum": orNull(s.findings)}
	case f.Format == "kind" && s.kinds != nil:
		return object{"enum": orNull(s.kinds)}
	}
	return text(f)
}

// text describes a text: it may look like a number or a truth value where the
// pattern lets it.
func text(f field) object {
	if f.Pattern == "" {
		return object{"type": []string{"string", "number", "boolean", "null"}}
	}
	types, form := []string{"string", "null"}, regexp.MustCompile(f.Pattern)
	if form.MatchString("1") {
		types = append(types, "number")
	}
	if form.MatchString("true") {
		types = append(types, "boolean")
	}
	return object{"type": types, "pattern": f.Pattern}
}

func orNull(words []string) []any {
	var all []any
	for _, w := range words {
		all = append(all, w)
	}
	return append(all, nil)
}

// jsonValue is a default or an example as JSON has it.
func jsonValue(f field, text string) any {
	switch {
	case shapeOf(f.Type) == list:
		return strings.Split(text, ",")
	case f.Type.Kind() == reflect.Bool:
		return text == "true"
	case isDuration(f.Type):
		return text
	case f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Uint16:
		return atoi(text)
	}
	return text
}

// together says which keys of a mapping go together.
func together(t reflect.Type) object {
	require := func(keys ...string) object { return object{"required": keys} }
	switch t {
	case reflect.TypeFor[probes.Target]():
		kind := func(words ...any) object {
			return object{"properties": object{"kind": object{"enum": words}}}
		}
		domain := kind(string(probes.CustomDomain))
		domain["required"] = []string{"kind"}
		return object{"allOf": []object{
			{"if": domain, "then": require("domain")},
			{"if": kind(string(probes.PrivateAPI), nil), "then": require("api", "region")},
		}}
	case reflect.TypeFor[probes.Header]():
		return object{"anyOf": []object{require("value"), require("secret")}}
	case reflect.TypeFor[probes.Secret]():
		return object{"anyOf": []object{require("file"), require("env"), {"type": "null"}}}
	case reflect.TypeFor[probes.ClientCertificate]():
		return object{"dependentRequired": object{"certificate": []string{"key"}, "key": []string{"certificate"}}}
	case reflect.TypeFor[probes.Recognize]():
		return object{"anyOf": []object{require("status"), require("header"), require("body")}}
	}
	return nil
}
