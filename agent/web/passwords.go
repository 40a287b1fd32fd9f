package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// maxKnown bounds how many good, and how many bad, passwords are remembered.
const maxKnown = 100

// passwords checks users' passwords. A check is slow on purpose, so results
// are remembered, under keys that do not tell the password; good and bad ones
// apart, so that guessing does not push out the scraper's. One check runs at a
// time, so that guessing takes no more than one CPU.
type passwords struct {
	secret  [32]byte
	turn    chan struct{} // held by whoever runs a check
	mu      sync.Mutex
	good    map[key]bool
	bad     map[key]bool
	compare func(hash, password []byte) error
}

type key [sha256.Size]byte

func newPasswords() *passwords {
	p := &passwords{
		turn: make(chan struct{}, 1), good: map[key]bool{}, bad: map[key]bool{},
		compare: bcrypt.CompareHashAndPassword,
	}
	rand.Read(p.secret[:])
	return p
}

// ok reports whether the request names a user with the right password. A user
// that does not exist takes as long as one that does.
func (p *passwords) ok(r *http.Request, s *settings) bool {
	user, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	hash, known := s.users[user]
	if !known {
		hash = p.decoy(user, s.costs)
	}
	k := p.key(user, hash, password)
	if right, checked := p.recall(k); checked {
		return right
	}
	select {
	case p.turn <- struct{}{}:
	case <-r.Context().Done():
		return false
	}
	defer func() { <-p.turn }()
	if right, checked := p.recall(k); checked {
		return right // by the one that we waited for
	}
	right := p.compare([]byte(hash), []byte(password)) == nil && known
	p.remember(k, right)
	return right
}

// key is where a result is remembered.
func (p *passwords) key(parts ...string) key {
	mac := hmac.New(sha256.New, p.secret[:])
	for _, part := range parts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return key(mac.Sum(nil))
}

func (p *passwords) recall(k key) (right, checked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.good[k], p.good[k] || p.bad[k]
}

func (p *passwords) remember(k key, right bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.bad
	if right {
		known = p.good
	}
	for old := range known {
		if len(known) < maxKnown {
			break
		}
		delete(known, old) // any: the order of a map is not the guesser's to choose
	}
	known[k] = true
}

// decoy is the hash to check a password against if there is no such user, of the cost of some user's hash:
// always the same for one name, as it would be if the user existed.
func (p *passwords) decoy(user string, costs []int) string {
	k := p.key("decoy", user)
	cost := costs[binary.BigEndian.Uint64(k[:])%uint64(len(costs))]
	return fmt.Sprintf("$2y$%02d$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", cost)
}

// costs lists what checking each user's password costs.
func costs(users map[string]string) []int {
	var all []int
	for _, hash := range users {
		cost, err := bcrypt.Cost([]byte(hash))
		if err == nil {
			all = append(all, cost)
		}
	}
	slices.Sort(all)
	return all
}
