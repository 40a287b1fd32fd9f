package probes

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Second)
		outer, cancel := context.WithDeadline(t.Context(), at)
		defer cancel()
		if by, ok := Within(outer, time.Minute).Deadline(); !ok || !by.Equal(at) {
			t.Errorf("the deadline is %v, want that of the context, %v", by, at)
		}
		inner := Within(outer, time.Millisecond)
		if by, ok := inner.Deadline(); !ok || !by.Equal(time.Now().Add(time.Millisecond)) {
			t.Errorf("the deadline is %v, want a millisecond from now", by)
		}
		cancel()
		if !errors.Is(inner.Err(), context.Canceled) {
			t.Errorf("%v after the context around it was canceled", inner.Err())
		}
	})
}

// Dialing keeps to the deadline of a context that is never done.
func TestDialingWithin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = new(net.Dialer).DialContext(Within(t.Context(), -time.Second), "tcp", l.Addr().String())
	if Classify(err) != Timeout {
		t.Errorf("%v, want a timeout", err)
	}
}
