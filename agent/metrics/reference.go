package metrics

import (
	"fmt"
	"strings"

	"vpcprobe/probes"
)

const referenceHead = `<!-- Generated from the declarations in the code. Do not edit. -->

# Metrics

A running agent serves these at ` + "`/metrics`" + `, as text, as OpenMetrics and in Prometheus' binary format, beside the usual
` + "`go_*` and `process_*`" + ` of itself. What the targets are like is read from their latest walks: a series of an address that leaves
the DNS, or of a target that leaves the configuration, leaves with it. Results, reasons and findings appear at their first
occurrence, so a target with one address and one name form has at most 60 series, and only one that is always 0: its unreachable walks.

Labels: ` + "`target`" + ` is the target's name; ` + "`kind`" + ` the kind of probe; ` + "`via`" + ` the name form (private-dns, endpoint, alias, domain);
` + "`address`" + ` an IP address; ` + "`resolver`" + ` a resolver as configured; ` + "`reason`" + ` an outcome, see [json.md](json.md#outcomes);
` + "`finding`" + ` the id of a finding, see [findings.md](findings.md).

Useful expressions:

    vpcprobe_verdict{verdict!="reachable"} == 1                            # what is not well
    vpcprobe_finding{severity="error"} > 0                                 # and why
    time() - vpcprobe_last_run_timestamp_seconds > 300                     # nobody looks any more
    sum by (target) (rate(vpcprobe_walks_total{verdict="reachable"}[1h]))
      / sum by (target) (rate(vpcprobe_walks_total[1h]))                   # availability
    vpcprobe_cert_not_after_timestamp_seconds - time() < 14 * 86400        # certificates that expire

`

// Reference renders docs/metrics.md from the declarations of the kinds and of
// this package.
func Reference(kinds []probes.Kind) string {
	m := New(kinds, Options{})
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("## Targets\n\n" + tableHead)
	for _, f := range m.families {
		if f.ofTarget != nil && len(f.kinds) == 0 {
			b.WriteString(f.row())
		}
	}
	native := &family{name: prefix + "phase_duration_seconds", help: phaseHistogramHelp, typ: histogram, labels: []string{"target", "phase"}}
	b.WriteString(native.row())
	for _, k := range kinds {
		var rows string
		for _, f := range m.families {
			if len(f.kinds) > 0 && f.kinds[0] == k.Name {
				rows += f.row()
			}
		}
		if rows != "" {
			fmt.Fprintf(&b, "\n## %s\n\n%s%s", k.Name, tableHead, rows)
		}
	}
	b.WriteString("\n## The agent itself\n\n" + tableHead)
	for _, f := range m.families {
		if f.ofAgent != nil {
			b.WriteString(f.row())
		}
	}
	return b.String()
}

const tableHead = "| metric | type | labels | meaning |\n|---|---|---|---|\n"

func (f *family) row() string {
	help := f.help
	if len(f.kinds) > 1 {
		help += " Also of " + strings.Join(f.kinds[1:], ", ") + "."
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.name, f.typ, strings.Join(f.labels, ", "), strings.ReplaceAll(help, "|", `\|`))
}
