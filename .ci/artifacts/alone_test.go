package artifacts

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alone runs a command that has to succeed, in a network namespace of its own:
// whatever it does, it reaches nothing but loopback.
func alone(t testing.TB, folder string, args ...string) string {
	t.Helper()
	tool(t, "unshare")
	tool(t, "ip")
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root makes network namespaces here")
	}
	return must(t, folder, "unshare", append([]string{"--net", "--", "sh", "-c", `ip link set lo up && exec "$@"`, "sh"}, args...)...)
}

// nobody is the command line of an unprivileged user without capabilities and
// without a way to get any, as the unit and the container have it.
func nobody(args ...string) []string {
	return append([]string{"env", "-i", "TMPDIR=/tmp", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all",
		"--inh-caps", "-all", "--ambient-caps", "-all", "--no-new-privs", "--"}, args...)
}

// toured checks the scorecard of `vpcprobe lab --once`, and returns it.
func toured(t testing.TB, out string) string {
	t.Helper()
	score := regexp.MustCompile(`(?m)^\d+ passed, 0 failed$`).FindString(out)
	if score == "" {
		t.Errorf("the tour of the lab:\n%s", out)
	}
	return score
}

// Every probe works for an unprivileged user with no capabilities.
func TestNobodyRunsTheLab(t *testing.T) {
	tool(t, "setpriv")
	caps := alone(t, "/tmp", nobody("grep", "-E", "^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Uid)", "/proc/self/status")...)
	if !regexp.MustCompile(`^Uid:\t65534\t.*\n(Cap\w+:\t0{16}\n){5}NoNewPrivs:\t1\n$`).MatchString(caps) {
		t.Fatalf("not nobody:\n%s", caps)
	}
	t.Log(toured(t, alone(t, "/tmp", nobody(binary, "lab", "--once")...)))
}

// An agent that runs as the unit and the container run it: it is healthy, it
// traces the path, and so does the command.
func TestNobodyRunsTheAgent(t *testing.T) {
	for _, name := range []string{"setpriv", "curl"} {
		tool(t, name)
	}
	config := filepath.Join(filepath.Dir(binary), "nobody.yaml")
	write(t, config, "listen: 127.0.0.1:9700\nevery: 1s\npace: {trace: 1s}\ntargets: [{name: orders, kind: custom-domain, domain: localhost, port: 9643}]\n")
	out := alone(t, "/tmp", nobody("sh", "-c", `
"$0" lab --listen 127.0.0.1:9643 >/dev/null 2>&1 &
lab=$!
for i in $(seq 150); do "$0" health --address 127.0.0.1:9643 >/dev/null 2>&1 && break; sleep 0.1; done
"$0" run --config "$1" 2>/tmp/nobody.$$ &
agent=$!
for i in $(seq 150); do "$0" health >/dev/null 2>&1 && break; sleep 0.1; done
for i in $(seq 100); do curl -s 127.0.0.1:9700/metrics | grep -q vpcprobe_trace_state && break; sleep 0.1; done
curl -s 127.0.0.1:9700/metrics | grep -E '^vpcprobe_(tcp_up|trace_state|path_length|verdict|success)\{'
"$0" health && "$0" trace 127.0.0.1:9643
status=$?
kill $agent $lab
wait $agent || echo "the agent ended with $?: $(cat /tmp/nobody.$$)"
rm /tmp/nobody.$$
exit $status`, binary, config)...)
	t.Log(out)
	for _, want := range []string{
		`(?m)^vpcprobe_tcp_up\{address="127\.0\.0\.1",target="orders"\} 1$`,
		`(?m)^vpcprobe_trace_state\{address="127\.0\.0\.1",state="open",target="orders"\} 1$`,
		`(?m)^vpcprobe_path_length\{address="127\.0\.0\.1",target="orders"\} 1$`,
		`(?m)^vpcprobe_success\{kind="trace",target="orders"\} 1$`,
		`(?m)^ok$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(out, "the agent ended with") {
		t.Error("the agent did not end in good order")
	}
}

// With /proc as the unit has it, the agent's metrics of itself are complete:
// when it started is reckoned from /proc/stat, which ProcSubset=pid would hide.
func TestTheUnitShowsTheAgentItself(t *testing.T) {
	for _, name := range []string{"setpriv", "curl"} {
		tool(t, name)
	}
	options := "defaults"
	for k, option := range map[string]string{"ProtectProc": "hidepid=", "ProcSubset": "subset="} {
		for _, v := range unit(t)[k] {
			options += "," + option + v
		}
	}
	config := filepath.Join(filepath.Dir(binary), "itself.yaml")
	write(t, config, "listen: 127.0.0.1:9700\nhealth_listen: 127.0.0.1:9701\ntargets: [{name: orders, kind: custom-domain, domain: localhost}]\n")
	out := alone(t, "/tmp", append([]string{"unshare", "--mount", "--", "sh", "-c", `mount -t proc -o "$0" proc /proc && exec "$@"`, options},
		nobody("sh", "-c", `
"$0" run --config "$1" 2>/dev/null &
agent=$!
for i in $(seq 150); do "$0" health --address 127.0.0.1:9701 >/dev/null 2>&1 && break; sleep 0.1; done
curl -s 127.0.0.1:9700/metrics | grep '^process_'
kill $agent
wait $agent`, binary, config)...)...)
	for _, want := range []string{"cpu_seconds_total", "max_fds", "network_receive_bytes_total", "open_fds", "resident_memory_bytes", "start_time_seconds"} {
		if !strings.Contains(out, "process_"+want+" ") {
			t.Errorf("no process_%s:\n%s", want, out)
		}
	}
}

// What the unit forbids, the agent does not do: systemd is not what runs this
// test, so strace is asked.
func TestTheUnitForbidsNothingNeeded(t *testing.T) {
	for _, name := range []string{"strace", "setpriv", "systemd-analyze"} {
		tool(t, name)
	}
	folder := t.TempDir()
	log := filepath.Join(folder, "log")
	alone(t, "/tmp", append([]string{"sh", "-c", `"$@"; true`, "sh", "strace", "-f", "-qq", "-o", log}, nobody(binary, "lab", "--once")...)...)
	text := read(t, log)
	_, text, ok := strings.Cut(text, `execve("`+binary+`"`)
	if !ok {
		t.Fatal("the agent did not run")
	}
	allowed := filtered(t)
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\d+ +(\w+)\(`).FindAllStringSubmatch(text, -1) {
		used[m[1]] = true
	}
	if len(used) < 20 || !used["socket"] {
		t.Fatalf("only %d system calls were seen", len(used))
	}
	for call := range used {
		if !allowed[call] {
			t.Errorf("the unit's SystemCallFilter forbids %s", call)
		}
	}
	families := unit(t)["RestrictAddressFamilies"][0]
	for _, m := range regexp.MustCompile(`socket\((AF_\w+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(strings.Fields(families), m[1]) {
			t.Errorf("the unit's RestrictAddressFamilies forbids %s", m[1])
		}
	}
	if regexp.MustCompile(`PROT_\w*\|?PROT_WRITE\|PROT_EXEC`).MatchString(text) {
		t.Error("the unit's MemoryDenyWriteExecute forbids what the agent does")
	}
}

// filtered are the system calls that the unit's filter lets through.
func filtered(t testing.TB) map[string]bool {
	t.Helper()
	allowed := map[string]bool{}
	for _, line := range unit(t)["SystemCallFilter"] {
		sets, deny := strings.CutPrefix(line, "~")
		for _, set := range strings.Fields(sets) {
			for _, call := range syscalls(t, set) {
				allowed[call] = !deny
			}
		}
	}
	return allowed
}

// syscalls expands a set of systemd's.
func syscalls(t testing.TB, set string) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(must(t, root, "systemd-analyze", "syscall-filter", "--no-pager", set)) {
		word := strings.TrimSpace(line)
		switch {
		case word == set || word == "" || strings.HasPrefix(word, "#"):
		case strings.HasPrefix(word, "@"):
			found = append(found, syscalls(t, word)...)
		default:
			found = append(found, word)
		}
	}
	return found
}
