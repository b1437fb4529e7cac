//! Custom operators of ONNX Runtime in the domain `evenkeel`: normalisation by evenkeel's kernels.
//!
//! ONNX Runtime loads the shared library and calls [`RegisterCustomOps`]. From there a call goes down:
//!
//! | file | subject |
//! |---|---|
//! | `lib.rs` | the entry, and which version of ONNX Runtime it takes |
//! | `signature.rs` | the operators: names, inputs, outputs, element types |
//! | `operator.rs` | an operator as ONNX Runtime sees it: a table of functions |
//! | `kernel.rs` | a node of a model: its attributes, and one execution |
//! | `call.rs` | the call of evenkeel |
//! | `api.rs` | ONNX Runtime's functions, and how errors and panics become its status |
//! | `shapes.rs` | axes and broadcasting |

mod api;
mod call;
mod kernel;
mod operator;
mod shapes;
mod signature;

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use ort_sys::{
    ORT_API_VERSION, OrtApiBase, OrtCustomOpDomain, OrtErrorCode, OrtSessionOptions, OrtStatusPtr,
};

use api::{Api, Fault};

/// The domain of the operators.
const DOMAIN: &CStr = c"evenkeel";

/// Adds the operators to the options of a session. ONNX Runtime calls it when the library is registered.
///
/// # Safety
///
/// `options` and `base` are those that ONNX Runtime passes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn RegisterCustomOps(
    options: *mut OrtSessionOptions,
    base: *const OrtApiBase,
) -> OrtStatusPtr {
    // SAFETY: the caller's promise; a version is answered by NULL or by a table that lives as long as the process.
    let api = unsafe { ((*base).GetApi)(ORT_API_VERSION).as_ref() };
    let Some(api) = api else {
        // SAFETY: as above.
        return unsafe { too_old(&*base) };
    };
    let api = Api(api);
    api.guard(|| {
        let domain = domain(api)?;
        // SAFETY: the options are the caller's; the domain is never released.
        api.check(unsafe { (api.0.AddCustomOpDomain)(options, domain) })
    })
}

/// The error for a version of ONNX Runtime without the functions that the operators need.
///
/// # Safety
///
/// `base` is that of ONNX Runtime.
unsafe fn too_old(base: &OrtApiBase) -> OrtStatusPtr {
    // SAFETY: the caller's promise: a text that ends with a zero.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) };
    let message = format!(
        "evenkeel: expected ONNX Runtime 1.{ORT_API_VERSION} or newer, got {}",
        version.to_string_lossy()
    );
    let message = CString::new(message).unwrap_or_default();
    // SAFETY: every version has the first one's functions, and `CreateStatus` is the first of them; it copies the message.
    unsafe {
        let first = (base.GetApi)(1);
        ((*first).CreateStatus)(OrtErrorCode::ORT_FAIL, message.as_ptr())
    }
}

/// The domain with all operators. One for each ONNX Runtime of the process, since sessions keep a pointer to it.
fn domain(api: Api) -> Result<*mut OrtCustomOpDomain, Fault> {
    static DOMAINS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
    let mut domains = DOMAINS.lock().unwrap_or_else(PoisonError::into_inner);
    let of = ptr::from_ref(api.0).expose_provenance();
    if let Some((_, domain)) = domains.iter().find(|(known, _)| *known == of) {
        return Ok(ptr::with_exposed_provenance_mut(*domain));
    }
    let mut domain = ptr::null_mut();
    // SAFETY: the name ends with a zero; `domain` is a place for a pointer.
    api.check(unsafe { (api.0.CreateCustomOpDomain)(DOMAIN.as_ptr(), &raw mut domain) })?;
    for operator in operator::all(api) {
        // SAFETY: the domain was created above; the operator is never freed.
        api.check(unsafe { (api.0.CustomOpDomain_Add)(domain, operator.as_ort()) })?;
    }
    domains.push((of, domain.expose_provenance()));
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use ort_sys::{OrtApi, OrtApiBase, stub};

    unsafe extern "system" fn first_version_alone(version: u32) -> *const OrtApi {
        if version == 1 { Box::leak(Box::new(stub::api())) } else { ptr::null() }
    }

    unsafe extern "system" fn version() -> *const std::ffi::c_char {
        c"1.16.3".as_ptr()
    }

    #[test]
    fn an_older_onnx_runtime_is_an_error_that_says_so() {
        let base = OrtApiBase { GetApi: first_version_alone, GetVersionString: version };
        // SAFETY: a base as that of an older version; the options are not looked at then.
        let status = unsafe { super::RegisterCustomOps(ptr::null_mut(), &raw const base) };
        assert!(!status.0.is_null(), "no error");
        // SAFETY: made by `stub`.
        let error = unsafe { stub::Error::consume_sys(status.0) };
        assert_eq!(error.message(), "evenkeel: expected ONNX Runtime 1.17 or newer, got 1.16.3");
    }
}
