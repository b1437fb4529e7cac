//! ONNX Runtime's functions. Every callback runs in [`Api::guard`], so that an error or a panic becomes a status.

use std::any::Any;
use std::ffi::{CStr, CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ort_sys::{
    OrtApi, OrtErrorCode, OrtKernelContext, OrtKernelInfo, OrtStatusPtr, OrtTensorTypeAndShapeInfo,
    OrtValue,
};

/// Why a callback failed.
pub(crate) enum Fault {
    /// By what evenkeel found: the argument, what was expected, what came.
    Message(String),
    /// By a status of ONNX Runtime.
    Status(OrtStatusPtr),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

/// The functions of ONNX Runtime, of the version that this crate was compiled for.
#[derive(Clone, Copy)]
pub(crate) struct Api(pub(crate) &'static OrtApi);

impl Api {
    /// Runs a callback. Nothing unwinds into ONNX Runtime.
    pub(crate) fn guard(self, callback: impl FnOnce() -> Result<(), Fault>) -> OrtStatusPtr {
        let fault = match catch_unwind(AssertUnwindSafe(callback)) {
            Ok(Ok(())) => return OrtStatusPtr::default(),
            Ok(Err(fault)) => fault,
            Err(payload) => Fault::Message(caught(&*payload)),
        };
        match fault {
            Fault::Status(status) => status,
            Fault::Message(message) => self.invalid(&message),
        }
    }

    fn invalid(self, message: &str) -> OrtStatusPtr {
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the message ends with a zero, and is copied.
        unsafe { (self.0.CreateStatus)(OrtErrorCode::ORT_INVALID_ARGUMENT, message.as_ptr()) }
    }

    /// A status as a result.
    pub(crate) fn check(self, status: OrtStatusPtr) -> Result<(), Fault> {
        if status.0.is_null() { Ok(()) } else { Err(Fault::Status(status)) }
    }

    /// Releases a status, and returns its text if it is an error.
    pub(crate) fn text(self, status: OrtStatusPtr) -> Option<String> {
        if status.0.is_null() {
            return None;
        }
        // SAFETY: a status of ONNX Runtime that nobody has released; its text is copied before it is.
        unsafe {
            let text = CStr::from_ptr((self.0.GetErrorMessage)(status.0));
            let text = text.to_string_lossy().into_owned();
            (self.0.ReleaseStatus)(status.0);
            Some(text)
        }
    }

    /// Where a tensor lies, and its dimensions.
    ///
    /// # Safety
    ///
    /// `value` is a tensor of ONNX Runtime's.
    unsafe fn tensor(self, value: *const OrtValue) -> Result<Tensor, Fault> {
        let (mut info, mut data) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the caller's promise. The data are only read. The info is released once.
        let dims = unsafe {
            self.check((self.0.GetTensorMutableData)(value.cast_mut(), &raw mut data))?;
            self.check((self.0.GetTensorTypeAndShape)(value, &raw mut info))?;
            let dims = self.dimensions(info);
            (self.0.ReleaseTensorTypeAndShapeInfo)(info);
            dims?
        };
        // A tensor that exists has no negative dimension.
        let dims = dims.into_iter().map(|dim| usize::try_from(dim).unwrap_or(0)).collect();
        Ok(Tensor { data, dims })
    }

    /// The dimensions of a shape.
    ///
    /// # Safety
    ///
    /// `info` is one of ONNX Runtime's.
    pub(crate) unsafe fn dimensions(
        self,
        info: *const OrtTensorTypeAndShapeInfo,
    ) -> Result<Vec<i64>, Fault> {
        let mut rank = 0;
        // SAFETY: the caller's promise; `rank` is a place for a number.
        self.check(unsafe { (self.0.GetDimensionsCount)(info, &raw mut rank) })?;
        let mut dims = vec![0; rank];
        // SAFETY: as above; there is room for `rank` numbers.
        self.check(unsafe { (self.0.GetDimensions)(info, dims.as_mut_ptr(), rank) })?;
        Ok(dims)
    }
}

/// What a panic said.
fn caught(payload: &(dyn Any + Send)) -> String {
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("evenkeel: a bug was caught: {}", said.unwrap_or("no text"))
}

/// A node whose kernel is created.
#[derive(Clone, Copy)]
pub(crate) struct Info {
    pub(crate) api: Api,
    pub(crate) raw: *const OrtKernelInfo,
}

impl Info {
    /// An attribute, or its default where the node has none.
    pub(crate) fn float(self, name: &CStr, default: f32) -> Result<f32, Fault> {
        let mut value = default;
        // SAFETY: the info is ONNX Runtime's, for this callback; the name ends with a zero; `value` is a place for a number.
        let status = unsafe {
            (self.api.0.KernelInfoGetAttribute_float)(self.raw, name.as_ptr(), &raw mut value)
        };
        Ok(if self.is_absent(name, status)? { default } else { value })
    }

    /// As [`float`](Self::float).
    pub(crate) fn int(self, name: &CStr, default: i64) -> Result<i64, Fault> {
        let mut value = default;
        // SAFETY: as above.
        let status = unsafe {
            (self.api.0.KernelInfoGetAttribute_int64)(self.raw, name.as_ptr(), &raw mut value)
        };
        Ok(if self.is_absent(name, status)? { default } else { value })
    }

    /// Whether the node lacks the attribute. ONNX Runtime has one code for that and for an attribute of another type: the text
    /// tells them apart.
    fn is_absent(self, name: &CStr, status: OrtStatusPtr) -> Result<bool, Fault> {
        match self.api.text(status) {
            None => Ok(false),
            Some(text) if text.contains("No attribute") => Ok(true),
            Some(text) => Err(Fault::Message(format!("`{}`: {text}", name.to_string_lossy()))),
        }
    }

    /// How many inputs and outputs the node has, with those that it leaves out before another one.
    pub(crate) fn counts(self) -> Result<(usize, usize), Fault> {
        let (mut inputs, mut outputs) = (0, 0);
        // SAFETY: the info is ONNX Runtime's, for this callback; the places are for numbers.
        unsafe {
            self.api.check((self.api.0.KernelInfo_GetInputCount)(self.raw, &raw mut inputs))?;
            self.api.check((self.api.0.KernelInfo_GetOutputCount)(self.raw, &raw mut outputs))?;
        }
        Ok((inputs, outputs))
    }

    /// The input of this index below their number, if it is a constant. Its memory lives as long as the session.
    pub(crate) fn constant(self, index: usize) -> Result<Option<Tensor>, Fault> {
        let (mut is_constant, mut value) = (0, ptr::null());
        // SAFETY: as above; a constant is a tensor by its type in the schema.
        unsafe {
            let get = self.api.0.KernelInfoGetConstantInput_tensor;
            self.api.check(get(self.raw, index, &raw mut is_constant, &raw mut value))?;
            if is_constant == 0 || value.is_null() {
                return Ok(None);
            }
            self.api.tensor(value).map(Some)
        }
    }

    /// Whether the output of this index below their number has a name.
    pub(crate) fn has_output(self, index: usize) -> Result<bool, Fault> {
        // The length of its name, with the zero.
        let mut length = 0;
        // SAFETY: as above; without a place for the name, its length is written.
        self.api.check(unsafe {
            let name = ptr::null_mut();
            (self.api.0.KernelInfo_GetOutputName)(self.raw, index, name, &raw mut length)
        })?;
        Ok(length > 1)
    }
}

/// One execution of a node.
pub(crate) struct Context {
    pub(crate) api: Api,
    pub(crate) raw: *mut OrtKernelContext,
}

/// An input.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) data: *const c_void,
    pub(crate) dims: Vec<usize>,
}

impl Context {
    /// The input of this index below their number, if the node has it.
    pub(crate) fn input(&self, index: usize) -> Result<Option<Tensor>, Fault> {
        let Self { api, raw } = *self;
        let mut value = ptr::null();
        // SAFETY: the context is ONNX Runtime's, for this callback; there is a place for a pointer. A value that is not NULL is a
        // tensor by its type in the schema.
        unsafe {
            api.check((api.0.KernelContext_GetInput)(raw, index, &raw mut value))?;
            if value.is_null() { Ok(None) } else { api.tensor(value).map(Some) }
        }
    }

    /// The memory of the output of this index below their number, which is not initialised.
    pub(crate) fn output(
        &self,
        index: usize,
        dims: &[usize],
    ) -> Result<Option<*mut c_void>, Fault> {
        let Self { api, raw } = *self;
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let (mut value, mut data) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the context is ONNX Runtime's, for this callback; the places have the types that the functions write; a value that
        // is not NULL is a tensor of these dimensions.
        unsafe {
            let (dims, rank) = (dims.as_ptr(), dims.len());
            api.check((api.0.KernelContext_GetOutput)(raw, index, dims, rank, &raw mut value))?;
            if value.is_null() {
                return Ok(None);
            }
            api.check((api.0.GetTensorMutableData)(value, &raw mut data))?;
        }
        Ok(Some(data))
    }
}
