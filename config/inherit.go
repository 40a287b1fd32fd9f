package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"vpcprobe/probes"
)

// inherit fills in what the targets do not say: from the top level, and from
// the defaults.
func (d *decoder) inherit(c *Config) {
	for i, t := range c.Targets {
		path := index("targets", i)
		d.fallBack(reflect.ValueOf(t).Elem(), path)
		inherited(d, path, "every", &t.Every, c.Every)
		inherited(d, path, "timeout", &t.Timeout, c.Timeout)
		inherited(d, path, "follow_up", &t.FollowUp, c.FollowUp)
		inherited(d, path, "ip_family", &t.IPFamily, c.IPFamily)
		d.inheritFailing(t, c, path)
		d.inheritPace(t, c, path)
		if !d.given(join(path, "via")) {
			t.Via = viaOf(t.Kind)
		}
	}
	if !d.given("while_failing") {
		c.WhileFailing = c.Every
		d.origins["while_failing"] = from(d.origins["every"], "every")
	}
}

func viaOf(k probes.TargetKind) []probes.Via {
	if k == probes.CustomDomain {
		return []probes.Via{probes.ViaDomain}
	}
	return []probes.Via{probes.ViaPrivateDNS}
}

// fallBack gives the absent fields of a target their defaults.
func (d *decoder) fallBack(v reflect.Value, path string) {
	for _, f := range d.fields(v.Type()) {
		at := join(path, f.Key)
		if f.Default == "" || d.given(at) {
			continue
		}
		into, item := v.FieldByIndex(f.index), f
		if shapeOf(f.Type) != list {
			d.standardInto(into, f)
		} else {
			item.Type = element(f.Type)
			for text := range strings.SplitSeq(f.Default, ",") {
				e := reflect.New(item.Type).Elem()
				item.Default = text
				d.standardInto(e, item)
				into.Set(reflect.Append(into, e))
			}
		}
	}
}

func (d *decoder) standardInto(v reflect.Value, f field) {
	if read, err := d.scalar(f.Default, f, d.folder); err == nil {
		v.Set(read)
	}
}

// inherited gives a target the top level's value of a key that it lacks.
func inherited[T any](d *decoder, path, key string, own *T, top T) {
	at := join(path, key)
	if d.given(at) {
		return
	}
	*own = top
	d.origins[at] = from(d.origins[key], key)
}

// from is the origin of a value that was taken over from another key.
func from(o Origin, key string) Origin {
	if o.From == "" {
		o.From = key
	}
	return o
}

// inheritFailing settles how often a failing target is walked: as it says, as
// the top level says, but never less often than when it is well.
func (d *decoder) inheritFailing(t *probes.Target, c *Config, path string) {
	at := join(path, "while_failing")
	switch {
	case d.given(at):
	case d.given("while_failing") && c.WhileFailing < t.Every:
		t.WhileFailing = c.WhileFailing
		d.origins[at] = from(d.origins["while_failing"], "while_failing")
	default:
		t.WhileFailing = t.Every
		d.origins[at] = from(d.origins[join(path, "every")], "every")
	}
}

// inheritPace adds the top level's paces that the target lacks.
func (d *decoder) inheritPace(t *probes.Target, c *Config, path string) {
	for _, kind := range slices.Sorted(maps.Keys(c.Pace)) {
		if _, ok := t.Pace[kind]; ok {
			continue
		}
		if t.Pace == nil {
			t.Pace = map[string]time.Duration{}
		}
		t.Pace[kind] = c.Pace[kind]
		d.origins[join(join(path, "pace"), kind)] = from(d.origins[join("pace", kind)], join("pace", kind))
	}
}
