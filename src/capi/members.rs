//! Where the members of the structures lie, said once more: the compiler compares it with the structures.

use core::ffi::c_void;

use super::member::Member;

/// A structure that C passes, whose first member is its size.
///
/// # Safety
///
/// It begins with a `usize`, and every bit pattern is a value of it. `BUFFERS` are buffers of it.
pub(super) unsafe trait Args: Default + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Where each member but the first begins: the sizes that it had before these were added.
    const ENDS: &'static [usize];
    /// From which byte on it is usually 0.
    const RARE: usize;
    /// Its buffers.
    const BUFFERS: &'static [Member];

    /// The `evenkeel_execution` of the call; NULL where there is none.
    fn execution(&self) -> *const c_void;
}

/// Implements [`Args`] for a structure: its defaults that are not 0, its size, and the offset of each of its members, with what a
/// buffer may be. Size and offsets are asserted, of a CPU with addresses of 64 bits.
macro_rules! members {
    (
        $of:ident { $($default:ident: $value:expr),* }, $size:literal, $execution:expr,
        [$($member:ident $offset:literal $(($buffer:expr))?),+ $(,)?] $(, rare $rare:ident)?
    ) => {
        #[cfg(target_pointer_width = "64")]
        const _: () = assert!(
            size_of::<$of>() == $size $(&& core::mem::offset_of!($of, $member) == $offset)+,
            "C has another layout"
        );

        impl Default for $of {
            fn default() -> Self {
                Self { $($default: $value,)* ..Self::ZERO }
            }
        }

        impl $of {
            /// Nothing but the size. Every default that is not 0 is set beside it.
            const ZERO: Self = Self {
                size: size_of::<Self>(),
                // SAFETY: numbers, null pointers, and optional pointers to functions that are not there.
                ..unsafe { core::mem::zeroed() }
            };
        }

        // SAFETY: the first member is the size, as asserted. Members are numbers, pointers, buffers of these and optional
        // pointers to functions.
        unsafe impl $crate::capi::members::Args for $of {
            const NAME: &'static str = stringify!($of);
            const ENDS: &'static [usize] = &[$(core::mem::offset_of!($of, $member)),+];
            const RARE: usize = [$(core::mem::offset_of!($of, $rare),)? size_of::<$of>()][0];
            const BUFFERS: &'static [$crate::capi::member::Member] = {
                // What is listed as a buffer is one.
                $($(
                    let _ = $buffer;
                    let _: fn(&$of) -> &$crate::capi::buffers::evenkeel_output =
                        |args| $crate::capi::buffers::Buffer::raw(&args.$member);
                )?)+
                &[$($($buffer.at(stringify!($member), core::mem::offset_of!($of, $member)),)?)+]
            };

            #[inline(always)]
            fn execution(&self) -> *const core::ffi::c_void {
                let execution: fn(&Self) -> *const $crate::capi::execution::evenkeel_execution = $execution;
                execution(self).cast()
            }
        }
    };
}

pub(super) use members;
