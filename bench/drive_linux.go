package main

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client asks as Prometheus does: on kept connections, with compression.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{MaxIdleConns: 2000, MaxIdleConnsPerHost: 2000, DisableCompression: true},
	}
}

// get returns the text of a page and its size as it was sent.
func get(c *http.Client, url string, compressed bool) (text string, size int, err error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return "", 0, err
	}
	if compressed {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	answer, err := c.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer answer.Body.Close()
	sent, err := io.ReadAll(answer.Body)
	if err != nil || answer.Header.Get("Content-Encoding") != "gzip" {
		return string(sent), len(sent), err
	}
	z, err := gzip.NewReader(strings.NewReader(string(sent)))
	if err != nil {
		return "", 0, err
	}
	plain, err := io.ReadAll(z)
	return string(plain), len(sent), err
}

// wait asks for a page until it is there.
func wait(c *http.Client, url string) error {
	var err error
	for range 500 {
		if _, _, err = get(c, url, false); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// A driver makes a peer probe that does nothing by itself: every target in its
// turn, evenly spread, whether or not those before have been answered.
type driver struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	asked  atomic.Int64
	failed atomic.Int64 // answered that the probe did not go well, or not at all
}

// heard counts an answer.
func (d *driver) heard(text string, err error) {
	d.asked.Add(1)
	if err != nil || !strings.Contains(text, "\nprobe_success 1") {
		d.failed.Add(1)
	}
}

// drive starts probing. hear, if not nil, is told what each probe said.
func drive(c *http.Client, p *peer, j job, hear func(target int, at time.Time, text string)) *driver {
	ctx, cancel := context.WithCancel(context.Background())
	d := &driver{stop: cancel}
	gap := j.every / time.Duration(j.targets)
	ask := func(i int) {
		at := time.Now()
		text, _, err := get(c, p.probe(j, i), true)
		if ctx.Err() == nil {
			d.heard(text, err)
		}
		if err == nil && hear != nil {
			hear(i, at, text)
		}
	}
	d.done.Go(func() {
		begin := time.Now()
		for n := 0; ctx.Err() == nil; n++ {
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(n) * gap))):
			case <-ctx.Done():
				return
			}
			d.done.Go(func() { ask(n % j.targets) })
		}
		c.CloseIdleConnections()
	})
	return d
}

// saturate probes as fast as the peer answers, so many at a time.
func saturate(p *peer, j job, atOnce int) *driver {
	ctx, cancel := context.WithCancel(context.Background())
	d := &driver{stop: cancel}
	c := newClient()
	for worker := range atOnce {
		d.done.Go(func() {
			for n := worker; ctx.Err() == nil; n += atOnce {
				text, _, err := get(c, p.probe(j, n%j.targets), true)
				d.heard(text, err)
			}
		})
	}
	return d
}

func (d *driver) end() {
	if d != nil {
		d.stop()
		d.done.Wait()
	}
}
