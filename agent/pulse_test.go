package agent

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vpcprobe/probes"
)

func TestPulse(t *testing.T) {
	clock := int64(0)
	p := &pulse{now: func() int64 { return clock }}
	at := func(d time.Duration) { clock = int64(d) }
	want := func(since, want time.Duration) {
		t.Helper()
		if got := p.since(int64(since)); got != want {
			t.Errorf("at %v: held up for %v since %v, want %v", time.Duration(clock), got, since, want)
		}
	}
	at(time.Hour)
	want(0, 0) // it does not beat
	p.set(int64(time.Hour + beat))
	at(time.Hour + beat + heldUp)
	want(0, 0) // late, but not by much
	at(time.Hour + beat + 3*time.Second)
	want(time.Hour, 3*time.Second) // whoever asks notices
	p.slept()
	p.set(clock + int64(beat))
	at(time.Hour + 4*time.Second)
	want(time.Hour, 3*time.Second) // and it is remembered
	want(time.Hour+beat+3*time.Second, 0)
}

// A pulse is on time as long as the process is.
func TestPulseOfAHealthyProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := &pulse{now: func() int64 { return int64(time.Since(start)) }}
		stop := p.start(t.Context())
		time.Sleep(10 * time.Second)
		if d := p.since(0); d > 0 {
			t.Errorf("held up for %v", d)
		}
		stop()
		time.Sleep(10 * time.Second)
		if d := p.since(0); d > 0 {
			t.Errorf("held up for %v, though it does not beat any more", d)
		}
	})
}

// What a process that was stopped takes for silence is none.
func TestHeldUp(t *testing.T) {
	if os.Getenv("VPCPROBE_HELD_UP") != "" {
		silent := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			fmt.Println("asked")
			time.Sleep(time.Second)
			return []probes.Observation{{Outcome: probes.Timeout, Err: context.DeadlineExceeded}}
		}
		o := check(t, opens(silent, lanes())).Evidence.Of("resolve")[0]
		fmt.Println(o.Outcome, o.Err)
		return
	}
	for _, tt := range []struct {
		held time.Duration
		want string
	}{
		{0, "timeout context deadline exceeded"},
		{3 * time.Second, "fault this process was held up for "},
	} {
		t.Run(tt.held.String(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestHeldUp$")
			cmd.Env = append(os.Environ(), "VPCPROBE_HELD_UP=yes")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			lines := bufio.NewScanner(out)
			lines.Scan()
			if lines.Text() != "asked" {
				t.Fatalf("the process said %q", lines.Text())
			}
			if tt.held > 0 {
				cmd.Process.Signal(syscall.SIGSTOP)
				time.Sleep(tt.held)
				cmd.Process.Signal(syscall.SIGCONT)
			}
			if lines.Scan(); !strings.HasPrefix(lines.Text(), tt.want) {
				t.Errorf("%q, want %q", lines.Text(), tt.want)
			}
		})
	}
}
