package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// largest bounds the file. 10,000 targets take about 3 MB.
const largest = 16 << 20

// Load reads the configuration. If the file cannot be read at all, the error says
// why and [errors.Is] knows it; the others are those of [Parse].
func Load(o Options) (*Loaded, error) {
	text, err := Read(o.Path, o.Env)
	if err != nil {
		return nil, err
	}
	return Parse(text, o)
}

// Parse makes a configuration of the file's content. If anything is wrong with it,
// the error is a [Problems] with all mistakes.
//
// A flag outweighs the environment, the environment the file, and the file the
// defaults.
func Parse(text []byte, o Options) (*Loaded, error) {
	d := newDecoder(o)
	loaded := &Loaded{Origins: d.origins}
	if err := d.layer(text, o.Flags, &loaded.Config); err != nil {
		return nil, err
	}
	d.inherit(&loaded.Config)
	d.check(&loaded.Config)
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	d.warn(&loaded.Config)
	loaded.Warnings = d.warnings.sorted()
	share(loaded.Targets)
	return loaded, nil
}

// inEnvironment begins a path that names an environment variable instead.
const inEnvironment = "env:"

// Read returns the text of the configuration at path: of a file, or, as
// containers that have no files of their own want it, of the environment
// variable that env:NAME names.
func Read(path string, env []string) ([]byte, error) {
	var text bytes.Buffer
	if err := Copy(&text, path, env); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// Copy writes what [Read] returns, for who need not hold it: it may be some MB. After
// an error, part of it may have been written.
func Copy(to io.Writer, path string, env []string) error {
	if name, ok := strings.CutPrefix(path, inEnvironment); ok {
		for _, line := range env {
			if value, ok := strings.CutPrefix(line, name+"="); ok && value != "" {
				_, err := io.WriteString(to, value)
				return err
			}
		}
		return fmt.Errorf("reading the configuration: the environment variable %s is not set: %w", name, os.ErrNotExist)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("reading the configuration: %s is a folder: name the file in it", path)
	}
	n, err := io.Copy(to, io.LimitReader(f, largest+1))
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if n > largest {
		return Problems{{File: path, Message: fmt.Sprintf("is larger than %d MiB, which no configuration is", largest>>20)}}
	}
	return nil
}

// A setting is a typed value and where it came from: what viper holds.
type setting struct {
	value  reflect.Value
	origin Origin
}

// layer puts defaults, file, environment and flags over each other, and the
// outcome into c.
func (d *decoder) layer(text []byte, flags map[string]string, c *Config) error {
	v := viper.NewWithOptions(viper.KeyDelimiter("::"), viper.WithDecoderRegistry(codec{d}))
	v.SetConfigType("yaml")
	all := leaves(reflect.TypeFor[Config](), "", nil)
	for _, l := range all {
		if s, ok := d.standard(l); ok {
			v.SetDefault(viperKey(l.path), s)
		}
	}
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return err
	}
	if err := v.MergeConfigMap(d.environment(all)); err != nil {
		return err
	}
	for path, s := range d.flags(all, flags) {
		v.Set(viperKey(path), s)
	}
	for _, l := range all {
		if s, ok := v.Get(viperKey(l.path)).(setting); ok {
			reflect.ValueOf(c).Elem().FieldByIndex(l.index).Set(s.value)
			d.origins[l.path] = s.origin
		}
	}
	return nil
}

func viperKey(path string) string { return strings.ReplaceAll(path, ".", "::") }

// A codec decodes the file for viper. What is wrong with the file goes to the
// decoder, so that viper's error is never more than a formality.
type codec struct{ *decoder }

// Decoder implements [viper.DecoderRegistry].
func (c codec) Decoder(string) (viper.Decoder, error) { return c, nil }

// Decode fills settings with the values that the file gives. They are typed
// already: whatever viper does to texts, it does not do to them.
func (c codec) Decode(text []byte, settings map[string]any) error {
	root := c.parse(text)
	if root == nil || absent(root) {
		if len(c.problems) == 0 {
			c.problem(1, 1, "targets", "is missing: the file is empty ('vpcprobe config init' prints one to start from)")
		}
		return nil
	}
	var written Config
	v := reflect.ValueOf(&written).Elem()
	c.mapping(root, v, "")
	for _, l := range leaves(v.Type(), "", nil) {
		if c.given(l.path) && !c.wrong[l.path] {
			place(settings, l.path, setting{v.FieldByIndex(l.index), c.origins[l.path]})
		}
	}
	return nil
}

// place puts a setting into the nested maps that viper wants.
func place(settings map[string]any, path string, s setting) {
	keys := strings.Split(path, ".")
	for _, k := range keys[:len(keys)-1] {
		below, ok := settings[k].(map[string]any)
		if !ok {
			below = map[string]any{}
			settings[k] = below
		}
		settings = below
	}
	settings[keys[len(keys)-1]] = s
}

// standard is the default of a leaf.
func (d *decoder) standard(l leaf) (setting, bool) {
	if l.Default == "" || !l.overridable() {
		return setting{}, false
	}
	v, err := d.scalar(l.Default, l.field, d.folder)
	return setting{v, Origin{Source: SourceDefault}}, err == nil
}

// prefix begins the names of our environment variables.
const prefix = "VPCPROBE_"

// serviceLink matches the variables that Kubernetes and Docker set for services
// and containers whose names begin with ours. They are not for us.
var serviceLink = regexp.MustCompile(
	`^VPCPROBE_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environment returns what the environment overrides, in the maps that viper
// wants. An empty variable counts as absent.
func (d *decoder) environment(all []leaf) map[string]any {
	settings := map[string]any{}
	var names []string
	byName := map[string]leaf{}
	for _, l := range all {
		if l.overridable() {
			names = append(names, l.Variable())
			byName[l.Variable()] = l
		}
	}
	working := folderOf("x") // unlike the file's, our paths are relative to where we were started
	for name, text := range d.env {
		l, ok := byName[name]
		switch {
		case !strings.HasPrefix(name, prefix), text == "":
		case ok:
			if v, err := d.scalar(text, l.field, working); err != nil {
				d.outside("environment", name, err.Error())
			} else {
				place(settings, l.path, setting{v, Origin{Source: SourceEnv, Name: name}})
			}
		case !d.mentioned[name] && !serviceLink.MatchString(name) && name != prefix+"CONFIG" && inEnvironment+name != d.file:
			d.outside("environment", name, "unknown variable"+Suggest(name, names))
		}
	}
	return settings
}

// flags returns what the command line gives, by key.
func (d *decoder) flags(all []leaf, flags map[string]string) map[string]setting {
	settings := map[string]setting{}
	working := folderOf("x")
	for path, text := range flags {
		i := slices.IndexFunc(all, func(l leaf) bool { return l.path == path && l.overridable() })
		name := "--" + strings.NewReplacer(".", "-", "_", "-").Replace(path)
		if i < 0 {
			d.outside("command line", name, "unknown key")
			continue
		}
		v, err := d.scalar(text, all[i].field, working)
		if err != nil {
			d.outside("command line", name, err.Error())
			continue
		}
		settings[path] = setting{v, Origin{Source: SourceFlag, Name: name}}
	}
	return settings
}

// outside complains of what is not in the file.
func (d *decoder) outside(where, name, message string) {
	d.problems = append(d.problems, Problem{File: where, Key: name, Message: message})
}
