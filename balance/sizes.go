package balance

import "math"

// sizes learns what a request says beforehand about the time that it takes. Of its size that is a regression of logarithms of times on those of
// sizes. It is one for the pool, but within servers, as large requests may go to fast ones: only differences to a server's own means
// count. Where sizes say nothing the exponent is zero, and all requests are alike; where they are rough it is less than one, as a
// very large size is then likely to be an overstatement. Of its class see factor. The zero value has learnt nothing.
type sizes struct {
	n          float64 // answers that it has learnt from, at most sizesMemory
	x          float64 // mean of the logarithms of sizes
	xx, xy, yy float64 // variances within servers of the logarithms of sizes and times, and their covariance

	most     float64 // deviation of a logarithm from the mean that counts
	latest   kind    // of which workOf was asked last: a choice and its lease ask the same; zero: of none since something was learnt
	worked   float64 // what it returned
	told     bool    // something has been said before
	exponent float64 // zero: sizes say nothing
	mean     float64 // the mean time of a size over the one that half of them stay under
	works    float64 // requests that counted for work, at most sizesMemory
	work     float64 // their mean work
	square   float64 // mean of the squares of their work
	varied   bool    // what is known makes their work different enough for a choice by work

	class factor
}

// kind is what is known of a request beforehand that may say how long it takes. The zero value: nothing.
type kind struct {
	size  float64 // zero: it tells none
	class uint16  // number in sizes.class; zero: none
}

// sized is what a server's requests with a size had on average.
type sized struct{ n, x, y float64 } // how many, at most sizedMemory, and the logarithms of their sizes and times

const (
	sizesMemory   = 2000. // answers
	sizedMemory   = 100.  // answers of one server
	sizesEnough   = 30.   // answers before which sizes are not believed
	sizesCrowded  = 300.  // answers up to which also those of crowded servers count
	sizesErrors   = 3.    // standard errors that chance is taken to have made of the covariance
	sizesMost     = 2.    // exponent
	leastSpread   = 1e-4  // variance of the logarithms of sizes: with less all are alike
	leastVariety  = .5    // variance of known work over the square of its mean from which a choice by work pays: with less, means become longer and the p99 no shorter
	ageless       = .4    // variance of the logarithms of times: from then on what is left of a request is taken not to fall
	stillVaried   = .8    // times as much is enough from then on
	mostDeviation = 5.    // standard deviations beyond which a size counts as that far from the mean
)

// size returns a request's, zero for one that says nothing that can be calculated with.
func (r *Request) size() float64 {
	if r.Size > 0 && r.Size <= MaxSize {
		return r.Size
	}
	return 0
}

// log returns the logarithm of a size, within what sizes may be.
func (z *sizes) log(size float64) float64 {
	return z.x + min(max(roughLog(size)-z.x, -z.most), z.most)
}

// observe takes the logarithm of a time of a request with that size, and what its server's requests had.
func (z *sizes) observe(size, time float64, at *sized) {
	x := math.Log(size)
	if z.n >= sizesEnough {
		x = z.log(size)
	}
	z.n, at.n = min(z.n+1, sizesMemory), min(at.n+1, sizedMemory)
	gain, own := 1/z.n, 1/at.n
	dx, dy := x-at.x, time-at.y
	at.x += own * dx
	at.y += own * dy
	z.x += gain * (x - z.x)
	z.xx += gain * ((1-own)*dx*dx - z.xx)
	z.xy += gain * ((1-own)*dx*dy - z.xy)
	z.yy += gain * ((1-own)*dy*dy - z.yy)
	z.concludeSize()
}

// concludeSize works out the exponent, and how far times are spread whose size is known.
func (z *sizes) concludeSize() {
	z.exponent = 0
	if z.n >= sizesEnough && z.xx > leastSpread && z.xy*z.xy > sizesErrors*sizesErrors*z.xx*z.yy/z.n {
		z.exponent = min(max(0, z.xy/z.xx), sizesMost)
	}
	z.most = mostDeviation * math.Sqrt(z.xx)
	z.latest = kind{}
	noise := z.yy - z.exponent*(2*z.xy-z.exponent*z.xx)
	z.mean = math.Exp(max(0, noise) / 2)
}

// conclude works out what classes say, and whether a choice by work pays.
func (z *sizes) conclude() {
	z.class.conclude()
	z.latest = kind{}
	least := leastVariety
	if z.varied {
		least *= stillVaried
	}
	z.varied = z.works >= sizesEnough && z.square > (1+least)*z.work*z.work
}

// tell reports whether sizes or classes say something.
func (z *sizes) tell() bool { return z.exponent > 0 || z.class.tells }

// pay reports whether a choice by work is better than one by counts.
func (z *sizes) pay() bool { return z.exponent > 0 || z.class.tells && z.varied }

// knows reports whether something is known of the work of a request of that kind.
func (z *sizes) knows(k kind) bool {
	return z.exponent > 0 && k.size > 0 || z.class.tells && k.class > 0
}

// offBySize returns by how much the logarithm of the time of a request of that size is larger than usual; zero: its size is not told, or says nothing.
func (z *sizes) offBySize(size float64) float64 {
	if z.exponent == 0 || size == 0 {
		return 0
	}
	return z.exponent * (z.log(size) - z.x)
}

// off is offBySize of all that is known of a request.
func (z *sizes) off(k kind) float64 {
	return z.offBySize(k.size) + z.class.effect(k.class)
}

// workOf returns the work that a request of that kind is expected to be.
func (z *sizes) workOf(k kind) float64 {
	if !z.knows(k) {
		return z.meanWork()
	}
	if k != z.latest {
		z.latest, z.worked = k, roughExp(z.off(k))*z.spread(k)
	}
	return z.worked
}

// ages reports whether a request of a kind has the less left the longer it has been there. Where only its class is known, and times within that are spread as
// much as those of exponential or heavier distributions are, how long it has been there says nothing of that.
func (z *sizes) ages(k kind) bool {
	if z.exponent > 0 && k.size > 0 || !z.class.tells || k.class == 0 {
		return true
	}
	return z.class.levels[k.class-1].variance < ageless
}

// spread returns the mean time of the requests of a kind over the one that half of them stay under.
func (z *sizes) spread(k kind) float64 {
	if z.exponent > 0 && k.size > 0 {
		return z.mean
	}
	return z.class.spread(k.class)
}

// counts enters the work of a request of which something is known into the mean.
func (z *sizes) counts(work float64) {
	z.works = min(z.works+1, sizesMemory)
	z.work += (work - z.work) / z.works
	z.square += (work*work - z.square) / z.works
}

// meanWork returns what a request is on average.
func (z *sizes) meanWork() float64 {
	if z.works == 0 {
		return 1
	}
	return z.work
}
