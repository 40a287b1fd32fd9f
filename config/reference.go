package config

import (
	"fmt"
	"reflect"
	"strings"
)

const referenceHead = `# Configuration

<!-- Generated from the declarations in config/ and probes/target.go. Do not edit. -->

vpcprobe reads one YAML file. It is read strictly: an unknown key, a duration without a unit or a value of the wrong
shape is a mistake, and all mistakes are reported at once with file, line and column. ` + "`vpcprobe config validate`" + ` does
no more than that; ` + "`vpcprobe config print`" + ` shows the effective configuration and where each value came from;
` + "`vpcprobe config schema`" + ` prints a JSON Schema for editors; ` + "`vpcprobe config init`" + ` prints the file at the end of
this page.

- **Text stays as written.** The id ` + "`0123456701`" + ` needs no quotes. A key without a value is the same as no key.
- **Durations have units**: ` + "`500ms`, `30s`, `5m`, `1h30m`" + `. None is above ` + "`8760h`" + `, a year.
- **Files** with relative names are relative to the folder of the configuration file.
- **Secrets are kept elsewhere**: in a file or in an environment variable, and read again for every use.
- **` + "`${env:NAME}`" + `** in any value is replaced by the environment variable NAME, which must be set; ` + "`$${`" + ` is a plain
  ` + "`${`" + `. ` + "`vpcprobe config print`" + ` shows such values as they are written.
- **Anchors, aliases, merge keys and YAML tags** are refused, and so is a second document.
- **Environment and flags** override the file: a flag outweighs the environment, the environment the file, the file the
  defaults. A variable that begins with ` + "`VPCPROBE_`" + ` and means nothing is a mistake, unless the file mentions it. The
  variables that Kubernetes sets for a service called vpcprobe are ignored, and so are empty ones.
- **Targets inherit** every, timeout, while_failing, pace, follow_up and ip_family from the top level. A target's own value wins.
`

// Reference returns docs/configuration.md: every key there is, from the same
// declarations that [Load] decodes by.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	section(&b, reflect.TypeFor[Config](), "", "Top level")
	b.WriteString("\n## Environment\n\n| variable | key |\n|---|---|\n")
	for _, l := range leaves(reflect.TypeFor[Config](), "", nil) {
		if l.overridable() {
			fmt.Fprintf(&b, "| `%s` | `%s` |\n", l.Variable(), l.path)
		}
	}
	b.WriteString("\n## A file to start from\n\n```yaml\n" + Starter() + "```\n")
	return b.String()
}

// section writes the table of a mapping, then those of the mappings in it.
func section(b *strings.Builder, t reflect.Type, path, title string) {
	fmt.Fprintf(b, "\n## %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title)
	for _, f := range fieldsOf(t) {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Key, valueWords(f), defaultWords(f, path), cell(meaning(f)))
	}
	for _, f := range fieldsOf(t) {
		below := join(path, f.Key)
		switch {
		case isSecret(f.Type) && below != "targets[].api_key": // described once
		case shapeOf(f.Type) == mapping:
			section(b, f.Type, below, "`"+below+"`")
		case shapeOf(f.Type) == list && shapeOf(element(f.Type)) == mapping:
			section(b, element(f.Type), below+"[]", "`"+below+"[]`")
		}
	}
}

func meaning(f field) string {
	if f.Example == "" {
		return f.Doc
	}
	return f.Doc + " Example: `" + f.Example + "`."
}

func defaultWords(f field, path string) string {
	inherits := path == "targets[]" && fieldIndex(fieldsOf(reflect.TypeFor[Config]()), f.Key) >= 0
	switch {
	case f.Required:
		return "required"
	case inherits:
		return "the top level's"
	case f.Default != "":
		return "`" + f.Default + "`"
	}
	return ""
}

// valueWords say in a few words what a key takes.
func valueWords(f field) string {
	switch shapeOf(f.Type) {
	case mapping:
		if isSecret(f.Type) {
			return "secret"
		}
		return "mapping"
	case pacing:
		return "mapping from kinds of probe to durations"
	case list:
		f.Type = element(f.Type)
		if f.Single {
			return valueWords(f) + ", or a list of them"
		}
		return "list: " + valueWords(f)
	}
	switch {
	case isDuration(f.Type) && f.Min != "":
		return "duration, at least " + f.Min
	case f.Type.Kind() == reflect.Bool:
		return "true or false"
	case f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Uint16:
		lowest, highest := bounds(f)
		return fmt.Sprintf("number, %d to %d", lowest, highest)
	case f.Enum != nil:
		return "`" + strings.Join(f.Enum, "`, `") + "`"
	case f.Pattern != "" && f.Format == "":
		return "text, `" + cell(f.Pattern) + "`"
	}
	return formatWords(f)
}

func formatWords(f field) string {
	words := map[string]string{
		"file": "file", "host": "host name", "url": "https URL", "collector": "http or https URL", "regexp": "regular expression", "resolver": "`system`, or address:port",
		"finding": "id of a finding", "listen": "address:port", "health": "loopback address:port, or `off`", "variable": "environment variable",
	}
	switch {
	case words[f.Format] != "":
		return words[f.Format]
	case f.Type.Kind() == reflect.Struct:
		return "IP address"
	}
	return "text"
}

// cell makes text fit into a cell of a Markdown table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
