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
	fewPaths = 6 // so many paths are shown one by one; of more, those that fared alike together
	fewAlike = 8 // so many rows are shown of one outcome
)

// A row is a line of a layer.
type row struct {
	mark            mark
	who, took, text string
}

// condense makes rows of a step's observations. Where there are many paths,
// those of one name form that fared alike are told together; what was skipped
// needs no more than a line.
func condense(s agent.Step) []row {
	groups := alike(s)
	var rows, last []row
	shown, hidden, worst := map[probes.Outcome]int{}, map[probes.Outcome]int{}, map[probes.Outcome]mark{}
	for _, g := range groups {
		o := g[0].Outcome
		switch shown[o]++; {
		case isIdle(o):
			last = append(last, idle(s, g))
		case o == probes.OK || shown[o] <= fewAlike:
			rows = append(rows, together(s, g))
		default:
			hidden[o] += len(g)
			worst[o] = max(worst[o], markOf(s, g[0]))
		}
	}
	for _, g := range groups { // in the order of appearance
		if o := g[0].Outcome; hidden[o] > 0 {
			rows = append(rows, row{mark: worst[o], who: fmt.Sprintf("and %d more: %s", hidden[o], o)})
			hidden[o] = 0
		}
	}
	return append(rows, last...)
}

func isIdle(o probes.Outcome) bool { return o == probes.Skipped || o == probes.Aborted }

// alike divides a step's observations into those that one row is made of.
func alike(s agent.Step) [][]probes.Observation {
	paths := 0
	for _, o := range s.Observations {
		if onPath(o) {
			paths++
		}
	}
	var keys []string
	var groups [][]probes.Observation
	for n, o := range s.Observations {
		key := fmt.Sprint(n) // nothing is like it
		switch head, _, _ := strings.Cut(said(o), ", "); {
		case isIdle(o.Outcome):
			key = string(o.Outcome)
		case onPath(o) && paths > fewPaths:
			key = fmt.Sprintln(o.Via, o.Outcome, answered(s, o), head)
		}
		i := slices.Index(keys, key)
		if i < 0 {
			i, keys, groups = len(keys), append(keys, key), append(groups, nil)
		}
		groups[i] = append(groups[i], o)
	}
	return groups
}

// onPath reports whether an observation was made on a lane.
func onPath(o probes.Observation) bool { return o.Via != "" && o.Resolver == "" }

// answered reports whether callers get the address: all but those of lanes to
// which no resolver leads.
func answered(s agent.Step, o probes.Observation) bool {
	lane, ok := laneOf(s, o)
	return !ok || lane.Answered
}

// said is the text of an observation, without what its row says anyway: which
// address was dialed, and which resolver has answered.
func said(o probes.Observation) string {
	text := strings.ReplaceAll(agent.Text(o), "dial tcp "+o.Addr.String()+": ", "")
	if o.Resolver != "" {
		text = strings.Replace(text, " from "+o.Resolver, "", 1)
	}
	return text
}

// ending says how an observation ended, and its text.
func ending(o probes.Outcome, text string) string {
	if o == probes.OK {
		return text
	}
	return strings.TrimSuffix(string(o)+": "+text, ": ")
}

// one is the row of a single observation.
func one(s agent.Step, o probes.Observation) row {
	r := row{mark: markOf(s, o), who: who(s.Target, o), text: ending(o.Outcome, said(o))}
	if d := o.Took(); d > 0 {
		r.took = duration(d)
	}
	if !answered(s, o) {
		r.text += " (no resolver answers this address)"
	}
	return r
}

// idle is the row of all observations of a step that could not be made.
func idle(s agent.Step, alike []probes.Observation) row {
	text := "skipped: there was nothing to work on"
	if alike[0].Outcome == probes.Aborted {
		text = "not done: interrupted"
	}
	if len(alike) == 1 {
		return row{mark: none, who: who(s.Target, alike[0]), text: text}
	}
	of := "time"
	if alike[0].Via != "" {
		of = "path"
	}
	return row{mark: none, who: count(len(alike), of), text: text}
}

// together is the row of all paths of a name form that fared alike. Those that
// went well need no addresses, unless there is nothing else to say.
func together(s agent.Step, alike []probes.Observation) row {
	if len(alike) == 1 {
		return one(s, alike[0])
	}
	o := alike[0]
	least, most := o.Took(), o.Took()
	var addrs []string
	for _, o := range alike {
		least, most = min(least, o.Took()), max(most, o.Took())
		addrs = append(addrs, address(s.Target, o))
	}
	r := row{mark: markOf(s, o), who: fmt.Sprintf("%-*s  %s", viaWidth(s.Target), o.Via, count(len(alike), "path")), text: ending(o.Outcome, common(alike))}
	if most > 0 {
		r.took = duration(most)
	}
	if from := duration(least); most > 0 && from != r.took {
		r.took = from + " to " + r.took
	}
	if at := strings.Join(addrs, ", "); r.text == "" {
		r.text = at
	} else if o.Outcome != probes.OK {
		r.text += ", at " + at
	}
	if !answered(s, o) {
		r.text += " (no resolver answers these addresses)"
	}
	return r
}

// common is how the texts of observations begin, as far as they agree: texts
// are made of parts, separated by commas.
func common(obs []probes.Observation) string {
	agreed := strings.Split(said(obs[0]), ", ")
	for _, o := range obs[1:] {
		parts := strings.Split(said(o), ", ")
		n := 0
		for n < min(len(agreed), len(parts)) && agreed[n] == parts[n] {
			n++
		}
		agreed = agreed[:n]
	}
	return strings.Join(agreed, ", ")
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
	switch {
	case o.Outcome == probes.OK:
		return good
	case o.Outcome == probes.Fault, o.Outcome.Blames() && !answered(s, o):
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
