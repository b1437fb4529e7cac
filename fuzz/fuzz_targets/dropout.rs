//! `Dropout`: the stream, masks and outputs.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::{Backend, Dropout, DropoutArgs, Error, InOut, Mask, MaskMut, Stream};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    x: Source,
    len: Len,
    p: Parameter,
    seed: u64,
    offset: Offset,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 3],
    wrong: Wrong,
    packed: bool,
    part: (u16, u16),
    any_mask: Vec<u8>,
    far: usize,
    stored: StoredAs,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Short(u8),
    Medium(u16),
    /// Around a block of the stream.
    Block(i8),
}

impl Len {
    fn value(self) -> usize {
        match self {
            Self::Short(len) => len.into(),
            Self::Medium(len) => usize::from(len) % 5001,
            Self::Block(delta) => 4096_usize.saturating_add_signed(delta.into()),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Offset {
    Any(u64),
    Small(u16),
    /// Around the border of two blocks.
    Border {
        block: u64,
        delta: i8,
    },
    /// Next to the end of the stream, or of the range that ends there.
    End(u16),
    LastFit(i8),
}

impl Offset {
    fn value(self, len: usize) -> u64 {
        match self {
            Self::Any(offset) => offset,
            Self::Small(offset) => offset.into(),
            Self::Border { block, delta } => {
                block.wrapping_mul(4096).wrapping_add_signed(delta.into())
            }
            Self::End(before) => u64::MAX - u64::from(before),
            Self::LastFit(delta) => {
                0_u64.wrapping_sub(len as u64).wrapping_add_signed(delta.into())
            }
        }
    }
}

/// What a call reads and writes.
struct Buffers<T: Stored = f32> {
    x: Buffer<T>,
    y: Buffer<T>,
    mask: Buffer<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Mask,
    Forward(Io),
    ForwardWithMask(Io),
    Apply(Io),
    Backward,
    BackwardWithMask,
}

const METHODS: [Method; 12] = [
    Method::ForwardWithMask(Io::TwoBuffers),
    Method::ForwardWithMask(Io::InPlace),
    Method::ForwardWithMask(Io::Uninit),
    Method::Forward(Io::TwoBuffers),
    Method::Forward(Io::InPlace),
    Method::Forward(Io::Uninit),
    Method::Mask,
    Method::Apply(Io::TwoBuffers),
    Method::Apply(Io::InPlace),
    Method::Apply(Io::Uninit),
    Method::Backward,
    Method::BackwardWithMask,
];

impl Method {
    fn in_place(self) -> bool {
        let (Self::Forward(io) | Self::ForwardWithMask(io) | Self::Apply(io)) = self else {
            return false;
        };
        io == Io::InPlace
    }

    fn draws(self) -> bool {
        !matches!(self, Self::Apply(_) | Self::BackwardWithMask)
    }

    fn writes_mask(self) -> bool {
        matches!(self, Self::Mask | Self::ForwardWithMask(_))
    }

    fn has_mask(self) -> bool {
        self.writes_mask() || !self.draws()
    }
}

fn run<T: Stored>(
    operation: Dropout,
    method: Method,
    stream: Stream,
    len: usize,
    packed: bool,
    buffers: &mut Buffers<T>,
) -> Result<(), Error> {
    let Buffers { x, y, mask } = buffers;
    let written = |mask| if packed { MaskMut::Packed(mask) } else { MaskMut::Bytes(mask) };
    let given = |mask| if packed { Mask::Packed(mask) } else { Mask::Bytes(mask) };
    match method {
        Method::Mask => operation.mask(stream, len, written(mask)),
        Method::Forward(io) => io.call_contiguous(x, y, |io| operation.forward(io, stream)),
        Method::ForwardWithMask(io) => {
            let args = DropoutArgs::draw(stream).keep_mask(written(mask));
            io.call_contiguous(x, y, |io| operation.forward(io, args))
        }
        Method::Apply(io) => io.call_contiguous(x, y, |io| operation.forward(io, given(mask))),
        Method::Backward => {
            Io::TwoBuffers.call_contiguous(x, y, |io| operation.backward(io, stream))
        }
        Method::BackwardWithMask => {
            Io::TwoBuffers.call_contiguous(x, y, |io| operation.backward(io, given(mask)))
        }
    }
}

fuzz_target!(|input: Continued<Input>| {
    let input = input.0;
    let (len, p, packed) = (input.len.value(), input.p.value(0.5), input.packed);
    let stream = Stream { seed: input.seed, offset: input.offset.value(len) };
    let x = input.x.values(len, input.seed);
    let p_is_valid = (0.0..=1.0).contains(&p);
    let stream_fits = u128::from(stream.offset) + len as u128 <= 1 << 64;
    let kept =
        if p_is_valid && stream_fits { defined_mask(p, stream, len) } else { vec![true; len] };
    let scale = check_scale(p, p_is_valid);

    let bytes = mask_len(len, packed);
    let right = [len, len, bytes];
    let lengths = lengths(right, input.wrong);
    // The mask to apply: anything, or the one that is drawn.
    let given: Vec<u8> = if input.any_mask.is_empty() {
        store_mask(&kept, packed)
    } else {
        (0..bytes).map(|i| input.any_mask[i % input.any_mask.len()].wrapping_mul(i as u8)).collect()
    };

    for backend in Backend::available() {
        let operation = Dropout::new()
            .with_p(p)
            .with_backend(backend)
            .with_parallelism(input.threads.into())
            .with_stores(input.stores.into());
        let methods = if input.thorough.is(backend) { &METHODS[..] } else { &METHODS[..1] };
        for &method in methods {
            let what = format_args!("{method:?}, {backend}, p {p:e}, {stream:?}, {len} elements");
            let shifts = input.shifts;
            let mut buffers = Buffers {
                x: Buffer::of(&x, lengths[0], shifts[0]),
                y: Buffer::new(lengths[1], shifts[1]),
                mask: Buffer::new(lengths[2], shifts[2]),
            };
            if !method.draws() {
                buffers.mask = Buffer::of(&given, lengths[2], shifts[2]);
            }
            // The length of x is what the others have to fit.
            let asked = if method == Method::Mask { len } else { lengths[0] };
            let asked_bytes = mask_len(asked, packed);
            let y_fits = method == Method::Mask || method.in_place() || lengths[1] == asked;
            let mask_fits = !method.has_mask() || lengths[2] == asked_bytes;
            let range_fits = u128::from(stream.offset) + asked as u128 <= 1 << 64;
            let valid = y_fits && mask_fits && p_is_valid && (!method.draws() || range_fits);
            let before = (raw_bits(&buffers.x), buffers.mask.to_vec());
            let result = run(operation, method, stream, asked, packed, &mut buffers);
            assert_eq!(result.is_ok(), valid, "{what}: {result:?}");

            let Buffers { x: x_after, y, mask } = &buffers;
            let writes_y = valid && method != Method::Mask && !method.in_place();
            assert!(y.is_untouched() || writes_y, "{what}: y");
            assert!(valid && method.in_place() || raw_bits(x_after) == before.0, "{what}: x");
            assert!(valid && method.writes_mask() || mask[..] == before.1, "{what}: mask");
            // Where x itself was longer or shorter there is nothing to compare with.
            if !valid || asked != len {
                continue;
            }
            if method.writes_mask() {
                assert!(mask[..] == store_mask(&kept, packed), "{what}: mask");
            }
            if method == Method::Mask {
                continue;
            }
            let y: &[f32] = if method.in_place() { x_after } else { y };
            for i in 0..len {
                let keep = if method.draws() { kept[i] } else { is_kept(&given, packed, i) };
                // A given mask may have been drawn by anyone: it takes the scale of p itself.
                let scale = if method.draws() { scale } else { (1.0 / (1.0 - p)) as f32 };
                let expected = dropped_out(x[i], keep, p, scale);
                let same = bits(expected) == bits(y[i]);
                assert!(same, "{what}, element {i}: expected {expected:e}, got {:e}", y[i]);
            }
        }
        if p_is_valid && stream_fits && input.thorough.is(backend) {
            check_part(operation, stream, &kept, input.part, format_args!("{backend}, p {p:e}"));
        }
    }
    if p_is_valid && stream_fits {
        let drawn = Drawn { input: &input, x: &x, stream, kept: &kept, scale, given: &given };
        for_stored!(input.stored, drawn.check_stored());
    }
    check_inference(&x);
    check_unsupported(&x, stream, packed);
    let far = Dropout::new().with_p(p).mask(stream, input.far, MaskMut::Packed(&mut []));
    assert!(far.is_err() || input.far == 0, "a mask of {} elements in no bytes", input.far);
});

/// What an input becomes.
struct Drawn<'a> {
    input: &'a Input,
    x: &'a [f32],
    stream: Stream,
    kept: &'a [bool],
    scale: f32,
    given: &'a [u8],
}

impl Drawn<'_> {
    /// Elements of another type give what the definition gives for their numbers, rounded once. There are no parameters.
    fn check_stored<T: Stored, P: Stored>(&self) {
        let Self { input, stream, given, .. } = *self;
        let (len, p, packed) = (self.x.len(), input.p.value(0.5), input.packed);
        for backend in Backend::available() {
            let operation = Dropout::new()
                .with_p(p)
                .with_backend(backend)
                .with_parallelism(input.threads.into())
                .with_stores(input.stores.into());
            let methods = if input.thorough.is(backend) { &METHODS[..] } else { &METHODS[..1] };
            for &method in methods.iter().filter(|&&method| method != Method::Mask) {
                let mut buffers = Buffers::<T> {
                    x: Buffer::of(&narrowed(self.x), len, input.shifts[0]),
                    y: Buffer::new(len, input.shifts[1]),
                    mask: Buffer::of(given, given.len(), input.shifts[2]),
                };
                run(operation, method, stream, len, packed, &mut buffers).expect("right lengths");
                let y = widened(if method.in_place() { &buffers.x } else { &buffers.y });
                for (i, y) in y.into_iter().enumerate() {
                    let keep =
                        if method.draws() { self.kept[i] } else { is_kept(given, packed, i) };
                    let scale = if method.draws() { self.scale } else { (1.0 / (1.0 - p)) as f32 };
                    let x = T::narrow(self.x[i]).wide();
                    let expected = T::narrow(dropped_out(x, keep, p, scale)).wide();
                    assert_eq!(
                        bits(expected),
                        bits(y),
                        "{method:?}, {backend}, p {p:e}, {stream:?}, {:?}, element {i}: expected {expected:e}, got {y:e}",
                        input.stored
                    );
                }
            }
        }
    }
}

/// A given mask is not written, and there are no rows to have a pitch.
fn check_unsupported(x: &[f32], stream: Stream, packed: bool) {
    let dropout = Dropout::new();
    let (given, mut kept) = (vec![1; mask_len(x.len(), packed)], vec![u8::BEFORE; x.len()]);
    let mut y = Buffer::<f32>::new(x.len(), 0);
    let mask = if packed { Mask::Packed(&given) } else { Mask::Bytes(&given) };
    let args = DropoutArgs::given(mask).keep_mask(MaskMut::Bytes(&mut kept));
    let result = dropout.forward(InOut::new(x, &mut y), args);
    assert_eq!(result, Err(Error::Unsupported { arg: "mask" }));
    let result = dropout.forward(InOut::strided(x, 1, &mut y, 1), stream);
    assert_eq!(result, Err(Error::Unsupported { arg: "x_pitch" }));
    assert!(y.is_untouched() && kept.iter().all(|&byte| byte == u8::BEFORE));
}

/// What kept elements are multiplied by, if p is accepted.
fn check_scale(p: f64, p_is_valid: bool) -> f32 {
    let operation = Dropout::new().with_p(p);
    let (realised, scale) = (operation.realised_p(), operation.scale());
    if !p_is_valid {
        assert!(realised.is_err() && scale.is_err(), "p {p:e}: {realised:?}, {scale:?}");
        return 1.0;
    }
    let (realised, scale) = (realised.expect("a probability"), scale.expect("a probability"));
    let bits = if (1.0 / 64.0..=63.0 / 64.0).contains(&p) { 16 } else { 32 };
    let range = 2.0_f64.powi(bits);
    if p == 0.0 || p == 1.0 {
        assert_eq!(realised, p);
    } else {
        assert_eq!((realised * range).fract(), 0.0, "p {p:e}: {realised:e} is no multiple");
        let last = realised == 1.0 - 1.0 / range;
        assert!(
            (realised - p).abs() <= 0.5 / range || last && p > realised,
            "p {p:e}: {realised:e}"
        );
    }
    let expected = if p == 1.0 { 0.0 } else { (1.0 / (1.0 - realised)) as f32 };
    assert_eq!(scale.to_bits(), expected.to_bits(), "p {p:e}: scale");
    scale
}

/// A part of a range is that part of the whole.
fn check_part(
    operation: Dropout,
    stream: Stream,
    kept: &[bool],
    (start, len): (u16, u16),
    what: Arguments<'_>,
) {
    let start = usize::from(start) % (kept.len() + 1);
    let len = usize::from(len) % (kept.len() - start + 1);
    let Some(offset) = stream.offset.checked_add(start as u64) else {
        // An empty part at the end of the stream, where no element is.
        return assert_eq!(len, 0);
    };
    let mut mask = Buffer::new(len, 0);
    let part = Stream { offset, ..stream };
    operation.mask(part, len, MaskMut::Bytes(&mut mask)).expect("a part of what was accepted");
    let expected = store_mask(&kept[start..start + len], false);
    assert!(mask[..] == expected, "{what}, {part:?}, {len} elements: not a part of {stream:?}");
}

/// Inference changes nothing.
fn check_inference(x: &[f32]) {
    let dropout = Dropout::new();
    for io in Io::CONTIGUOUS {
        let (mut given, mut y) = (Buffer::of(x, x.len(), 0), Buffer::new(x.len(), 0));
        io.call_contiguous(&mut given, &mut y, |io| dropout.forward_inference(io))
            .expect("two of one length");
        assert_eq!(raw_bits(x), raw_bits(if io.in_place() { &given } else { &y }), "{io:?}");
    }
    let mut longer = Buffer::<f32>::new(x.len() + 1, 0);
    assert!(dropout.forward_inference(InOut::new(x, &mut longer)).is_err());
    assert!(longer.is_untouched());
}
