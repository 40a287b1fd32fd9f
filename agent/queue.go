package agent

import (
	stdheap "container/heap"
	"slices"
)

// A heap holds walks, the one that falls due first on top.
type heap []*walk

func (h heap) Len() int           { return len(h) }
func (h heap) Less(i, j int) bool { return h[i].wake < h[j].wake }
func (h heap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heap) Push(x any)        { *h = append(*h, x.(*walk)) }
func (h *heap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}

func (h *heap) push(w *walk) { stdheap.Push(h, w) }
func (h *heap) pop() *walk   { return stdheap.Pop(h).(*walk) }

// prune takes out the walks that are gone.
func (h *heap) prune() {
	*h = slices.DeleteFunc(*h, func(w *walk) bool { return w.gone })
	stdheap.Init(h)
}

// A queue holds walks in the order in which they fell due.
type queue struct {
	walks []*walk
	first int // those before it were taken out
}

func (q *queue) len() int     { return len(q.walks) - q.first }
func (q *queue) push(w *walk) { q.walks = append(q.walks, w) }

func (q *queue) head() *walk {
	if q.len() == 0 {
		return nil
	}
	return q.walks[q.first]
}

func (q *queue) pop() *walk {
	w := q.head()
	if w == nil {
		return nil
	}
	q.walks[q.first] = nil
	q.first++
	if q.first == len(q.walks) {
		*q = queue{walks: q.walks[:0]}
	} else if q.first > 64 && q.first > len(q.walks)/2 {
		*q = queue{walks: slices.Delete(q.walks, 0, q.first)}
	}
	return w
}

// prune takes out the walks that are gone.
func (q *queue) prune() {
	*q = queue{walks: slices.DeleteFunc(q.walks[q.first:], func(w *walk) bool { return w.gone })}
}
