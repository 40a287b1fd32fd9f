package export

import (
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
)

// inParts is a gatherer that yields families and errors one by one.
type inParts struct {
	families []*dto.MetricFamily // nil is a failure
	asked    bool                // for all at once
}

var errPart = errors.New("a part is missing")

func (p *inParts) Gather() ([]*dto.MetricFamily, error) {
	p.asked = true
	return nil, nil
}

func (p *inParts) GatherParts() iter.Seq2[*dto.MetricFamily, error] {
	return func(yield func(*dto.MetricFamily, error) bool) {
		for _, f := range p.families {
			if f == nil && !yield(nil, errPart) || f != nil && !yield(f, nil) {
				return
			}
		}
	}
}

// A batch is as full as can be, keeps the order, and what cannot be gathered
// does not keep the rest from being gathered.
func TestBatches(t *testing.T) {
	t.Parallel()
	g := &inParts{families: []*dto.MetricFamily{up(make([]float64, 10)...), up(), nil, up(make([]float64, 2*maxPoints)...), up(7)}}
	var got []string
	for families, err := range batches(g) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		line := ""
		for _, f := range families {
			if f.GetName() != "up" || f.GetHelp() != "Whether it is." || f.GetType() != dto.MetricType_GAUGE {
				t.Errorf("a part is of %v", f)
			}
			last := f.Metric[len(f.Metric)-1]
			line += fmt.Sprintf("%s-%s ", f.Metric[0].Label[0].GetValue(), last.Label[0].GetValue())
		}
		got = append(got, line)
	}
	want := []string{"a part is missing", "t0-t9 t0-t3989 ", "t3990-t7989 ", "t7990-t7999 t0-t0 "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the batches differ (-want +got):\n%s", diff)
	}
	if g.asked {
		t.Error("all was gathered at once")
	}
}

// Who has enough is left alone.
func TestBatchesEndEarly(t *testing.T) {
	t.Parallel()
	for _, g := range []*inParts{
		{families: []*dto.MetricFamily{up(make([]float64, 3*maxPoints)...)}},
		{families: []*dto.MetricFamily{nil, nil, up(1)}},
	} {
		n := 0
		for range batches(g) {
			n++
			break
		}
		if n != 1 {
			t.Errorf("%d batches", n)
		}
	}
}
