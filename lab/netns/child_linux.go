package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Child is what a copy of this program does instead of the program itself:
// it reads its arguments and returns when it is done.
type Child func(args []string) error

const (
	childKey = "VPCPROBE_NETNS_CHILD" // which Child this process is
	userKey  = "VPCPROBE_NETNS_USER"  // set in a process that was put into a user namespace
)

// Enter must be the first thing that a program does that uses this package: a
// test's TestMain, before anything else. In the program itself it returns; in
// the copies of it that the package starts, it runs the child and exits. Where
// the program is not root it starts the whole of it anew as root of a user
// namespace of its own, if that is allowed, with a loopback device of its own
// and no other.
func Enter(children map[string]Child) {
	if name := os.Getenv(childKey); name != "" {
		os.Unsetenv(childKey)
		os.Exit(runChild(name, children))
	}
	switch {
	case os.Getenv(userKey) != "":
		exec.Command("ip", "link", "set", "lo", "up").Run() // if that fails, tests on loopback will tell
	case os.Getuid() != 0 && userNamespaces() == nil:
		os.Exit(runAsUser())
	}
}

func runChild(name string, children map[string]Child) int {
	own := map[string]Child{"wire": carry, "confine": confine}
	child := own[name]
	if child == nil {
		child = children[name]
	}
	err := fmt.Errorf("no child %q", name)
	if child != nil {
		err = child(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// copyOf returns a command that runs this program as a child. The path leads
// to the program even where its directory is closed to whom the child becomes.
func copyOf(child string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childKey+"="+child)
	if os.Getenv("GORACE") == "" {
		cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0") // or each child of a race-enabled program waits a second
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// rootOfUser asks for user, network and mount namespaces in which this user is
// root.
func rootOfUser() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// userNamespaces says why user namespaces are not allowed; nil if they are.
func userNamespaces() error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = rootOfUser()
	return cmd.Run()
}

// runAsUser runs this program in a user namespace and returns its exit code.
func runAsUser() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), userKey+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = rootOfUser()
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "user namespace:", err)
		return 1
	}
	return 0
}
