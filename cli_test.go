package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vpcprobe/lab"
)

// binary builds the program as it is released, but for its size.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vpcprobe")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// The command line, as people and pipelines use it. Each script in
// testdata/script gets the program as vpcprobe, and three commands:
//
//	exits CODE COMMAND...  runs a command that must end with the code
//	json [PATH VALUE]      standard output must be JSON, with that value there
//	lab [FAULT]            starts a lab, writes partners.yaml for a target in it,
//	                       and breaks it in one way
func TestCommandLine(t *testing.T) {
	program := binary(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("LC_ALL", "C.UTF-8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "json": jsonOutput, "lab": labOfScript},
	})
}

// exits runs a command that must end with a code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failed, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = failed.ExitCode()
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("the exit code is %d, want %s", code, args[0])
	}
}

// jsonOutput asks for JSON on standard output: one document, and at a path,
// keys and indexes separated by dots, a value.
func jsonOutput(ts *testscript.TestScript, neg bool, args []string) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.UseNumber()
	var v any
	ts.Check(d.Decode(&v))
	if d.More() {
		ts.Fatalf("there is something after the document")
	}
	if len(args) == 0 {
		return
	}
	if len(args) != 2 {
		ts.Fatalf("usage: json [PATH VALUE]")
	}
	got := fmt.Sprint(descend(v, strings.Split(args[0], ".")))
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

func descend(v any, path []string) any {
	for _, key := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// labOfScript starts a lab that ends with the script.
func labOfScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: lab [FAULT]")
	}
	l, err := lab.Start()
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	if len(args) == 1 {
		all := lab.Scenarios()
		i := slices.IndexFunc(all, func(s lab.Scenario) bool { return s.ID == args[0] && s.Edit == nil })
		if i < 0 {
			ts.Fatalf("the lab cannot be broken by %s alone", args[0])
		}
		l.Break(all[i].Break)
	}
	_, config, _ := strings.Cut(l.Config(), "  - name: partners\n")
	config, _, _ = strings.Cut(config, "  - name: ")
	ts.Check(os.WriteFile(ts.MkAbs("partners.yaml"), []byte("timeout: 2s\ntargets:\n  - name: partners\n"+config), 0o600))
	ts.Setenv("LAB", filepath.Dir(l.System().Hosts))
	ts.Setenv("LABPORT", fmt.Sprint(l.Port()))
}

// A command that cannot end, because it waits for a terminal or a hung file, does
// not keep the program from ending.
func TestEndsThoughACommandBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		blocked := make(chan struct{})
		defer close(blocked)
		time.AfterFunc(time.Minute, interrupt)
		start := time.Now()
		if code := inTime(ctx, func() int { <-blocked; return 0 }); code != exitInterrupted || time.Since(start) != time.Minute+latest {
			t.Errorf("code %d after %v", code, time.Since(start))
		}
		if code := inTime(ctx, func() int { time.Sleep(latest - 1); return 7 }); code != 7 {
			t.Errorf("a command that ends in time: code %d", code)
		}
	})
}

// Interrupted, check says what it has learned, in either form, and exits with
// 130. run ends well: that is how it is told to.
func TestInterrupts(t *testing.T) {
	program := binary(t)
	for _, tt := range []struct {
		name   string
		args   []string
		signal os.Signal
		code   int
		says   string
	}{
		{"table", []string{"check"}, os.Interrupt, 130, "1 unknown. 0 errors, 0 warnings"},
		{"json", []string{"check", "-o", "json"}, syscall.SIGTERM, 130, `"verdict": "unknown"`},
		{"run", []string{"run"}, os.Interrupt, 0, ""},
		{"run, by the service manager", []string{"run"}, syscall.SIGTERM, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			silent, err := net.ListenPacket("udp", "127.0.0.1:0") // a resolver that never answers
			must(t, err)
			defer silent.Close()
			config := onFreePorts + "every: 1s\ntimeout: 5m\ntargets:\n  - {name: never, kind: custom-domain, domain: api.example.com, resolvers: [\"" + silent.LocalAddr().String() + "\"]}\n"
			path := write(t, t.TempDir(), "vpcprobe.yaml", config)
			c := exec.CommandContext(t.Context(), program, append(tt.args, "-c", path)...)
			c.Env = []string{"PATH=" + os.Getenv("PATH")}
			var out, log bytes.Buffer
			c.Stdout, c.Stderr = &out, &log
			must(t, c.Start())
			_, _, err = silent.ReadFrom(make([]byte, 512)) // it is under way
			must(t, err)
			must(t, c.Process.Signal(tt.signal))
			err = c.Wait()
			if code := c.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("%v: exit code %d, want %d\n%s%s", err, code, tt.code, &out, &log)
			}
			if !strings.Contains(out.String(), tt.says) || tt.says == "" && out.Len() > 0 {
				t.Errorf("standard output: %s", &out)
			}
			if tt.name == "json" && !json.Valid(out.Bytes()) {
				t.Errorf("not JSON: %s", &out)
			}
		})
	}
}

// Every command is in a script: what nobody runs, nobody keeps working.
func TestEveryCommandHasAScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txt")
	must(t, err)
	used := map[string]bool{}
	for _, path := range scripts {
		f, err := os.Open(path)
		must(t, err)
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			words := strings.Fields(lines.Text())
			for i, w := range words {
				if w == "vpcprobe" && i+1 < len(words) {
					used[words[i+1]] = true
					if i+2 < len(words) {
						used[words[i+1]+" "+words[i+2]] = true
					}
				}
			}
		}
	}
	for _, c := range newRoot().Commands() {
		if c.Name() != "help" && !used[c.Name()] {
			t.Errorf("no script runs vpcprobe %s", c.Name())
		}
		for _, sub := range c.Commands() {
			if name := c.Name() + " " + sub.Name(); !used[name] {
				t.Errorf("no script runs vpcprobe %s", name)
			}
		}
	}
}
