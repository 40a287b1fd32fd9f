package resolve

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/probes"
)

// The kernel knows how long a datagram waited for us; our clock does not. It
// begins to stamp a moment after the first socket asked for stamps, so the
// first datagrams may have none (the trace keeps them on in an agent).
func TestReceiverKnowsHowLongADatagramWaited(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	receive, buf := receiver(probes.NewSocket(probes.Host().Network, client)), make([]byte, maxDatagram)
	const lazy = 40 * time.Millisecond
	for range 100 {
		if _, err := server.WriteTo([]byte("reply"), client.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lazy)
		got, err := receive(buf)
		if err != nil || string(got.packet) != "reply" {
			t.Fatalf("%q, %v", got.packet, err)
		}
		if got.delay >= lazy {
			return
		}
	}
	t.Errorf("of 100 datagrams, none is known to have waited %v", lazy)
}

func TestTimespec(t *testing.T) {
	order := binary.NativeEndian
	long := order.AppendUint64(order.AppendUint64(nil, 1700000000), 5)
	short := order.AppendUint32(order.AppendUint32(nil, 1700000000), 5)
	for _, b := range [][]byte{long, short} {
		if got, ok := timespec(b); !ok || !got.Equal(time.Unix(1700000000, 5)) {
			t.Errorf("%d bytes: %v %v", len(b), got, ok)
		}
	}
	if _, ok := timespec(long[:12]); ok {
		t.Error("12 bytes are taken for a time")
	}
}

// A clock that was set while we waited must not yield times before the start.
func TestWaitedIgnoresAClockThatWasSet(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, tt := range []struct {
		stamp time.Time
		want  time.Duration
	}{
		{now.Add(-3 * time.Millisecond), 3 * time.Millisecond},
		{now.Add(time.Hour), 0},
	} {
		order := binary.NativeEndian
		data := order.AppendUint64(order.AppendUint64(nil, uint64(tt.stamp.Unix())), uint64(tt.stamp.Nanosecond()))
		control := order.AppendUint64(nil, uint64(unix.CmsgLen(len(data))))
		control = order.AppendUint32(control, unix.SOL_SOCKET)
		control = order.AppendUint32(control, unix.SCM_TIMESTAMPNS)
		if got := waited(append(control, data...), now); got != tt.want {
			t.Errorf("stamp %v: waited %v, want %v", tt.stamp, got, tt.want)
		}
	}
	if got := waited([]byte("no control message"), now); got != 0 {
		t.Errorf("waited %v by garbage", got)
	}
}
