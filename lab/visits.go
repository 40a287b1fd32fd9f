package lab

import (
	"net/http"
	"sync"
)

// A Visit is a request that came to the public web server.
type Visit struct {
	Method, Path string // the path with its query
	Header       http.Header
	Length       int64 // of the body
	Certificate  bool  // whether the client showed a certificate
}

// visits remembers requests.
type visits struct {
	mu   sync.Mutex
	seen []Visit
}

// maxVisits bounds what is remembered: a lab may run for days.
const maxVisits = 1000

// note remembers what is answered by another handler.
func (v *visits) note(next http.Handler, certificate bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		if len(v.seen) < maxVisits {
			v.seen = append(v.seen, Visit{r.Method, r.URL.RequestURI(), r.Header.Clone(), r.ContentLength, certificate})
		}
		v.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (v *visits) all() []Visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]Visit(nil), v.seen...)
}
