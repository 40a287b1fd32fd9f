package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

const (
	fewPaths = 6 // so many paths that went well are shown one by one
	fewAlike = 8 // so many that ended badly
)

// A row is a line of a layer.
type row struct {
	mark            mark
	who, took, text string
}

// condense makes rows of a step's observations. Paths that all went well are
// told together if they are many; what went wrong is told one by one; and what
// was skipped needs no more than a line.
func condense(s agent.Step) []row {
	well := 0
	for _, o := range s.Observations {
		if o.Outcome == probes.OK {
			well++
		}
	}
	var rows, last []row
	shown := map[probes.Outcome]int{}
	told := map[probes.Via]bool{}
	for _, o := range s.Observations {
		switch {
		case o.Outcome == probes.OK && well > fewPaths && o.Via != "" && o.Resolver == "":
			if !told[o.Via] {
				rows = append(rows, together(s, o.Via))
			}
			told[o.Via] = true
		case o.Outcome == probes.OK:
			rows = append(rows, one(s, o))
		case o.Outcome == probes.Skipped || o.Outcome == probes.Aborted:
			if shown[o.Outcome] == 0 {
				last = append(last, idle(s, o))
			}
			shown[o.Outcome]++
		default:
			if shown[o.Outcome]++; shown[o.Outcome] <= fewAlike {
				rows = append(rows, one(s, o))
			}
		}
	}
	for _, o := range s.Observations { // in the order of appearance
		if more := shown[o.Outcome] - fewAlike; more > 0 && o.Outcome != probes.Skipped && o.Outcome != probes.Aborted {
			rows = append(rows, row{mark: bad, who: fmt.Sprintf("and %d more: %s", more, o.Outcome)})
			shown[o.Outcome] = 0
		}
	}
	return append(rows, last...)
}

// one is the row of a single observation.
func one(s agent.Step, o probes.Observation) row {
	r := row{mark: markOf(s, o), who: who(s.Target, o), text: agent.Text(o)}
	if d := o.Took(); d > 0 {
		r.took = duration(d)
	}
	if o.Outcome != probes.OK {
		r.text = strings.TrimSuffix(string(o.Outcome)+": "+r.text, ": ")
	}
	if lane, ok := laneOf(s, o); ok && !lane.Answered {
		r.text += " (no resolver answers this address)"
	}
	return r
}

// idle is the row of all observations of a step that could not be made.
func idle(s agent.Step, o probes.Observation) row {
	alike := probes.Filter(s.Observations, func(p probes.Observation) bool { return p.Outcome == o.Outcome })
	text := "skipped: there was nothing to work on"
	if o.Outcome == probes.Aborted {
		text = "not done: interrupted"
	}
	if len(alike) == 1 {
		return row{mark: none, who: who(s.Target, o), text: text}
	}
	of := "time"
	if o.Via != "" {
		of = "path"
	}
	return row{mark: none, who: count(len(alike), of), text: text}
}

// together is the row of all paths of a name form that went well.
func together(s agent.Step, via probes.Via) row {
	well := probes.Filter(s.Observations, func(o probes.Observation) bool { return o.Outcome == probes.OK && o.Via == via })
	least, most := well[0].Took(), well[0].Took()
	same := true
	var addrs []string
	for _, o := range well {
		least, most = min(least, o.Took()), max(most, o.Took())
		same = same && agent.Text(o) == agent.Text(well[0])
		addrs = append(addrs, address(s.Target, o))
	}
	r := row{mark: good, who: fmt.Sprintf("%-*s  %s", viaWidth(s.Target), via, count(len(well), "path")), text: agent.Text(well[0])}
	if most > 0 {
		r.took = duration(most)
	}
	if from := duration(least); most > 0 && from != r.took {
		r.took = from + " to " + r.took
	}
	if !same {
		r.text = strings.Join(addrs, ", ")
	}
	return r
}

// who says whom an observation concerns, without repeating the heading.
func who(t *probes.Target, o probes.Observation) string {
	var words []string
	if o.Via != "" {
		words = append(words, fmt.Sprintf("%-*s", viaWidth(t), o.Via))
	}
	if o.Name != "" && (o.Via == "" || o.Name != t.NameOf(o.Via)) {
		words = append(words, o.Name)
	}
	switch {
	case o.Resolver != "":
		words = append(words, "by "+o.Resolver)
	case o.Addr.IsValid():
		words = append(words, address(t, o))
	}
	return strings.TrimRight(strings.Join(words, "  "), " ")
}

// address is the address without the port that all have.
func address(t *probes.Target, o probes.Observation) string {
	if port := o.Addr.Port(); port == t.Port || port == 443 && t.Port == 0 {
		return o.Addr.Addr().String()
	}
	return o.Addr.String()
}

// markOf is the mark of an observation. What fails where no caller goes is
// worth a look, but no failure.
func markOf(s agent.Step, o probes.Observation) mark {
	lane, ok := laneOf(s, o)
	switch {
	case o.Outcome == probes.OK:
		return good
	case o.Outcome == probes.Fault, o.Outcome.Blames() && ok && !lane.Answered:
		return warn
	case o.Outcome.Blames():
		return bad
	}
	return none
}

func laneOf(s agent.Step, o probes.Observation) (probes.Lane, bool) {
	i := slices.IndexFunc(s.Lanes, o.On)
	if i < 0 {
		return probes.Lane{}, false
	}
	return s.Lanes[i], true
}

// duration is a time as people read it, with two or three digits.
func duration(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", ms)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", ms)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", ms)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
