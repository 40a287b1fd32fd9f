package service

import (
	"fmt"
	"strconv"
	"strings"
)

// maxShards bounds the number of shards.
const maxShards = 1 << 16

// ParseShard reads which of n shards an instance takes: "i/n", counted from 0,
// or "NAME-i/n" with the name of a StatefulSet's pod, whose ordinal is i.
func ParseShard(text string) (i, n int, err error) {
	who, of, ok := strings.Cut(text, "/")
	if !ok {
		return 0, 0, fmt.Errorf("shard %q is not like 2/5 or vpcprobe-2/5", text)
	}
	if name, ordinal, pod := cutLast(who); pod && name != "" {
		who = ordinal
	}
	index, err := strconv.ParseUint(who, 10, 31)
	if err != nil {
		return 0, 0, fmt.Errorf("shard %q: %q is not a number", text, who)
	}
	count, err := strconv.ParseUint(of, 10, 31)
	if err != nil || count < 1 || count > maxShards {
		return 0, 0, fmt.Errorf("shard %q: %q is not a number from 1 to %d", text, of, maxShards)
	}
	if index >= count {
		return 0, 0, fmt.Errorf("shard %q: shards are counted from 0, so the last of %d is %d", text, count, count-1)
	}
	return int(index), int(count), nil
}

// cutLast cuts text at its last hyphen.
func cutLast(text string) (before, after string, found bool) {
	i := strings.LastIndexByte(text, '-')
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}
