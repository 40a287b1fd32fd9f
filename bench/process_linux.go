package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/lab/netns"
)

// The CPUs on which things run.
const (
	proberCPU = 0
	farmCPU   = 1
)

// A process is a program under measurement, or one that helps to measure.
type process struct {
	cmd     *exec.Cmd
	started time.Time // just before exec
}

// start starts a command on one CPU, more urgent than anything else on the
// machine where that is allowed, and inside a host of the lab unless in is nil.
func start(cmd *exec.Cmd, cpu int, in *netns.Namespace) (*process, error) {
	p := &process{cmd: cmd}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // what a child inherits belongs to the thread, which ends with this goroutine
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("pin to CPU %d: %w", cpu, err)
			return
		}
		unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
		p.started = time.Now()
		if in == nil {
			done <- cmd.Start()
			return
		}
		done <- in.Do(cmd.Start)
	}()
	return p, <-done
}

// stop ends the process and waits for it.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(3*time.Second, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.cmd.Wait()
}

// cpu is the time that the process has run, by the kernel's scheduler.
func (p *process) cpu() time.Duration {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	var sum time.Duration
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has just ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// busy is the time for which a CPU has not been idle, to 10 ms.
func busy(cpu int) (sum time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != fmt.Sprintf("cpu%d", cpu) {
			continue
		}
		for i, ticks := range fields[1:9] {
			const idle, waiting = 3, 4
			if n, err := strconv.Atoi(ticks); err == nil && i != idle && i != waiting {
				sum += time.Duration(n) * 10 * time.Millisecond
			}
		}
	}
	return sum
}

// rss is the memory that the process occupies, in MB.
func (p *process) rss() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kb / 1000 * 1.024
		}
	}
	return 0
}

// self returns a command that runs this program in another role.
func self(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{role}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// isolated runs this program again in a network namespace of its own, so that
// its servers listen where nobody can reach them, with its files in a folder
// that this run removes whatever happens to that one. It returns the exit code, and
// false if this is that run.
func isolated(folder string) (int, bool) {
	const key = "BENCH_INSIDE"
	if os.Getenv(key) != "" {
		exec.Command("ip", "link", "set", "lo", "up").Run()
		// Where the scheduler groups processes by session, priorities count within
		// a session only, and this is the session's own.
		os.WriteFile("/proc/self/autogroup", []byte("-20"), 0)
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), key+"=1", "TMPDIR="+folder)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Setsid: true}
	if _, err := start(cmd, farmCPU, nil); err != nil {
		fmt.Fprintln(os.Stderr, "bench: a network namespace:", err)
		return 1, true
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ended
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // with all that it has started
	}()
	if cmd.Wait() != nil {
		return 1, true
	}
	return 0, true
}
