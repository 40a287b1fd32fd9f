package service

import "testing"

func TestParseShard(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text  string
		i, n  int
		fails string
	}{
		{"0/1", 0, 1, ""},
		{"3/5", 3, 5, ""},
		{"vpcprobe-3/5", 3, 5, ""},
		{"my-probe-2-0/65536", 0, 65536, ""},
		{"5/5", 0, 0, `shard "5/5": shards are counted from 0, so the last of 5 is 4`},
		{"vpcprobe-7/5", 0, 0, `shard "vpcprobe-7/5": shards are counted from 0, so the last of 5 is 4`},
		{"3", 0, 0, `shard "3" is not like 2/5 or vpcprobe-2/5`},
		{"", 0, 0, `shard "" is not like 2/5 or vpcprobe-2/5`},
		{"-1/5", 0, 0, `shard "-1/5": "-1" is not a number`},
		{"+1/5", 0, 0, `shard "+1/5": "+1" is not a number`},
		{"vpcprobe/5", 0, 0, `shard "vpcprobe/5": "vpcprobe" is not a number`},
		{"vpcprobe-/5", 0, 0, `shard "vpcprobe-/5": "" is not a number`},
		{"0/0", 0, 0, `shard "0/0": "0" is not a number from 1 to 65536`},
		{"0/65537", 0, 0, `shard "0/65537": "65537" is not a number from 1 to 65536`},
		{"1/2/3", 0, 0, `shard "1/2/3": "2/3" is not a number from 1 to 65536`},
	}
	for _, tt := range tests {
		i, n, err := ParseShard(tt.text)
		if i != tt.i || n != tt.n || text(err) != tt.fails {
			t.Errorf("%q: %d of %d, %q; want %d of %d, %q", tt.text, i, n, text(err), tt.i, tt.n, tt.fails)
		}
	}
}

func FuzzParseShard(f *testing.F) {
	for _, s := range []string{"0/1", "vpcprobe-3/5", "-1/5", "99999999999/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if i, n, err := ParseShard(text); err == nil && (i < 0 || i >= n || n > maxShards) {
			t.Errorf("%q is shard %d of %d", text, i, n)
		}
	})
}
