//go:build linux

package netns

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Enter(map[string]Child{"rights": rights, "dial": dial})
	goleak.VerifyTestMain(m)
}

// rights prints what a process may do.
func rights([]string) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	may := map[string]string{}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		may[key] = strings.TrimSpace(value)
	}
	var root unix.Statfs_t
	if err := unix.Statfs("/", &root); err != nil {
		return err
	}
	may["ReadOnly"] = fmt.Sprint(root.Flags&unix.ST_RDONLY != 0)
	return json.NewEncoder(os.Stdout).Encode(may)
}

// dial connects to an address.
func dial(args []string) error {
	conn, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestConfinedProgramsHaveNoRights(t *testing.T) {
	l := Start(t, Topology{})
	out, err := l.Client().Confined("rights")
	if err != nil {
		t.Fatal(err)
	}
	var may map[string]string
	if err := json.Unmarshal(out, &may); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "ReadOnly": "true",
	} {
		if may[key] != want {
			t.Errorf("%s is %q, want %q", key, may[key], want)
		}
	}
}
