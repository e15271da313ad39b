package balance

import (
	"math"
	"strings"
)

// factor learns what a request's class says about the time that it takes. Each of its levels, which is a class, has an effect on the logarithm of the time
// beyond what the server and the size let expect. Levels that differ no more than chance explains have none. The zero value has learnt nothing.
type factor struct {
	levels  []factorLevel
	numbers map[string]uint16 // of levels, by name
	latest  uint16            // number that was asked for last: a choice and its lease ask for the same; zero: none
	full    Instant           // until then no level makes room for another; zero: there is room

	n    float64 // answers that it has learnt from, at most sizesMemory
	mean float64 // of their residuals

	tells bool    // levels differ by more than chance explains
	own   float64 // answers of a level that the mean of all is worth
}

// factorLevel is what requests of one class have taken.
type factorLevel struct {
	name     string
	used     Instant // by a request
	n        float64 // answers, at most levelMemory
	mean     float64 // of their residuals: the logarithm of a time, less what all but the level lets expect
	variance float64 // of their residuals
	effect   float64 // of the level on the logarithm of a time, as far as it is believed
	spread   float64 // the mean time over the one that half of the requests stay under
}

const (
	mostLevels   = 1000 // levels of a factor; further ones share the last, as names may be chosen by clients
	levelMemory  = 300. // answers of a level
	levelEnough  = 10.  // answers before which a level is not compared with others
	factorErrors = 6.   // standard errors that chance is taken to have made of how much levels differ: a server's speed is in the residuals, and not exact
	leastBetween = .02  // variance between levels that is worth a choice by work
	leastWithin  = 1e-4 // variance within levels
	mostWithin   = 4.   // variance within levels from which a mean time is worked out
)

// number returns the number of a level, which a lease keeps; 0: of no name.
func (f *factor) number(now Instant, name string) uint16 {
	if name == "" {
		return 0
	}
	if f.latest > 0 && f.levels[f.latest-1].name == name {
		f.levels[f.latest-1].used = now
		return f.latest
	}
	number, ok := f.numbers[name]
	if !ok {
		number = f.add(now, name)
	}
	f.levels[number-1].used, f.latest = now, number
	return number
}

// add gives a new name a level of its own, if there is room or a level that has not been used for classIdle, and else the last one, which such names share.
func (f *factor) add(now Instant, name string) uint16 {
	at := len(f.levels)
	switch {
	case at < mostLevels:
		if f.levels = append(f.levels, factorLevel{}); at == mostLevels-1 {
			return mostLevels
		}
	case now < f.full:
		return mostLevels
	default:
		at = 0
		for i := range f.levels[:mostLevels-1] {
			if f.levels[i].used < f.levels[at].used {
				at = i
			}
		}
		if f.full = f.levels[at].used.Add(classIdle); now < f.full {
			return mostLevels
		}
		delete(f.numbers, f.levels[at].name)
	}
	if f.numbers == nil {
		f.numbers = make(map[string]uint16)
	}
	name = strings.Clone(name)
	f.levels[at] = factorLevel{name: name, spread: 1}
	f.numbers[name] = uint16(at + 1)
	return uint16(at + 1)
}

// observe takes a residual of a request of that level.
func (f *factor) observe(number uint16, residual float64) {
	l := &f.levels[number-1]
	f.n, l.n = min(f.n+1, sizesMemory), min(l.n+1, levelMemory)
	own, off := 1/l.n, residual-l.mean
	l.mean += own * off
	l.variance += own * ((1-own)*off*off - l.variance)
	f.mean += (residual - f.mean) / f.n
}

// conclude works out the effects of the levels. These are compared by an analysis of variance: what their means differ by is held against what chance makes of
// as many answers; the less is left, the less of a level's mean is believed.
func (f *factor) conclude() {
	if f.n < sizesEnough {
		return
	}
	var groups, n, nn, sum, within float64
	for i := range f.levels {
		if l := &f.levels[i]; l.n >= levelEnough {
			groups, n, nn, sum, within = groups+1, n+l.n, nn+l.n*l.n, sum+l.n*l.mean, within+l.n*l.variance
		}
	}
	f.tells = false
	if groups < 2 {
		return
	}
	within = max(within/n, leastWithin)
	squares, center := 0., sum/n
	for i := range f.levels {
		if l := &f.levels[i]; l.n >= levelEnough {
			squares += l.n * (l.mean - center) * (l.mean - center)
		}
	}
	chance := within * (groups - 1 + factorErrors*math.Sqrt(2*(groups-1)))
	between := (squares - within*(groups-1)) / (n - nn/n)
	if f.tells = squares > chance && between > leastBetween; !f.tells {
		return
	}
	f.own = within / between
	for i := range f.levels {
		l := &f.levels[i]
		l.effect = (l.mean - f.mean) * l.n / (l.n + f.own)
		l.spread = math.Exp(min(l.variance, mostWithin) / 2)
	}
}

// effect returns that of a level; zero: levels say nothing, or the request has none.
func (f *factor) effect(number uint16) float64 {
	if !f.tells || number == 0 {
		return 0
	}
	return f.levels[number-1].effect
}

// spread returns the mean time of requests of a level over the one that half of them stay under; 1 if levels say nothing, or the request has none.
func (f *factor) spread(number uint16) float64 {
	if !f.tells || number == 0 {
		return 1
	}
	return f.levels[number-1].spread
}
