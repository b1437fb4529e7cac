//! An operator as ONNX Runtime sees it: a table of functions, each of which looks at the [`Operator`] that the table begins.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use ort_sys::{
    ONNXTensorElementDataType, ORT_API_VERSION, OrtApi, OrtCustomOp,
    OrtCustomOpInputOutputCharacteristic, OrtKernelContext, OrtKernelInfo, OrtMemType,
    OrtShapeInferContext, OrtStatusPtr,
};

use crate::api::{Api, Context, Fault, Info};
use crate::kernel::Kernel;
use crate::signature::{
    ELEMENTS, Element, F32, LAYER, Out, RMS, SIMPLIFIED, SKIP_LAYER, SKIP_SIMPLIFIED, Signature,
};

/// All operators, each once for every type of elements. Sessions keep pointers to them: they are never freed.
pub(crate) fn all(api: Api) -> &'static [Operator] {
    let signatures = [&LAYER, &RMS, &SIMPLIFIED, &SKIP_LAYER, &SKIP_SIMPLIFIED];
    let of_all_types =
        signatures.map(|signature| ELEMENTS.map(|element| Operator::new(api, signature, element)));
    Box::leak(of_all_types.into_iter().flatten().collect())
}

/// An operator for one type of elements.
#[repr(C)]
pub(crate) struct Operator {
    /// First, so that a pointer to it is a pointer to all.
    table: OrtCustomOp,
    api: Api,
    signature: &'static Signature,
    element: Element,
}

impl Operator {
    fn new(api: Api, signature: &'static Signature, element: Element) -> Self {
        let table = OrtCustomOp {
            version: ORT_API_VERSION,
            CreateKernel: None,
            GetName: Some(name),
            GetExecutionProviderType: Some(provider),
            GetInputType: Some(input_type),
            GetInputTypeCount: Some(input_count),
            GetOutputType: Some(output_type),
            GetOutputTypeCount: Some(output_count),
            KernelCompute: None,
            KernelDestroy: Some(destroy),
            GetInputCharacteristic: Some(input_characteristic),
            GetOutputCharacteristic: Some(output_characteristic),
            GetInputMemoryType: Some(memory_type),
            GetVariadicInputMinArity: Some(no_variadic),
            GetVariadicInputHomogeneity: Some(no_variadic),
            GetVariadicOutputMinArity: Some(no_variadic),
            GetVariadicOutputHomogeneity: Some(no_variadic),
            CreateKernelV2: Some(create),
            KernelComputeV2: Some(compute),
            InferOutputShapeFn: Some(infer_shape),
            GetStartVersion: None,
            GetEndVersion: None,
        };
        Self { table, api, signature, element }
    }

    /// What ONNX Runtime is passed. It is good for all of the operator, not for the table alone.
    pub(crate) fn as_ort(&'static self) -> *const OrtCustomOp {
        ptr::from_ref(self).cast()
    }

    /// # Safety
    ///
    /// `op` is from [`as_ort`](Self::as_ort).
    unsafe fn of(op: *const OrtCustomOp) -> &'static Self {
        // SAFETY: the caller's promise: a pointer to an operator that is never freed, which begins with the table.
        unsafe { &*op.cast() }
    }
}

unsafe extern "system" fn name(op: *const OrtCustomOp) -> *const c_char {
    // SAFETY: ONNX Runtime passes the pointer that it was passed.
    unsafe { Operator::of(op) }.signature.name.as_ptr()
}

unsafe extern "system" fn provider(_: *const OrtCustomOp) -> *const c_char {
    c"CPUExecutionProvider".as_ptr()
}

unsafe extern "system" fn memory_type(_: *const OrtCustomOp, _: usize) -> OrtMemType {
    OrtMemType::OrtMemTypeDefault
}

/// No input or output stands for several. ONNX Runtime does not ask then.
unsafe extern "system" fn no_variadic(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn input_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: as in `name`.
    unsafe { Operator::of(op) }.signature.inputs.len()
}

unsafe extern "system" fn output_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: as in `name`.
    unsafe { Operator::of(op) }.signature.outputs.len()
}

unsafe extern "system" fn input_type(
    op: *const OrtCustomOp,
    _: usize,
) -> ONNXTensorElementDataType {
    // SAFETY: as in `name`.
    unsafe { Operator::of(op) }.element.onnx
}

/// Statistics are float, whatever the other types are.
unsafe extern "system" fn output_type(
    op: *const OrtCustomOp,
    index: usize,
) -> ONNXTensorElementDataType {
    // SAFETY: as in `name`.
    let operator = unsafe { Operator::of(op) };
    match operator.signature.outputs.get(index).map(|port| port.is) {
        Some(Out::Mean | Out::Rstd) => F32.onnx,
        _ => operator.element.onnx,
    }
}

unsafe extern "system" fn input_characteristic(
    op: *const OrtCustomOp,
    index: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    // SAFETY: as in `name`.
    let port = unsafe { Operator::of(op) }.signature.inputs.get(index);
    characteristic(port.is_some_and(|port| port.optional))
}

unsafe extern "system" fn output_characteristic(
    op: *const OrtCustomOp,
    index: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    // SAFETY: as in `name`.
    let port = unsafe { Operator::of(op) }.signature.outputs.get(index);
    characteristic(port.is_some_and(|port| port.optional))
}

fn characteristic(optional: bool) -> OrtCustomOpInputOutputCharacteristic {
    match optional {
        true => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_OPTIONAL,
        false => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED,
    }
}

unsafe extern "system" fn create(
    op: *const OrtCustomOp,
    api: *const OrtApi,
    info: *const OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime's table, which lives as long as the process; the pointer that it was passed.
    let (api, operator) = unsafe { (Api(&*api), Operator::of(op)) };
    api.guard(|| {
        let info = Info { api, raw: info };
        let created = Kernel::new(operator.signature, operator.element, info)?;
        // SAFETY: a place for a pointer.
        unsafe { kernel.write(Box::into_raw(Box::new(created)).cast()) };
        Ok(())
    })
}

unsafe extern "system" fn destroy(kernel: *mut c_void) {
    if !kernel.is_null() {
        // SAFETY: made by `create`, and destroyed once.
        drop(unsafe { Box::from_raw(kernel.cast::<Kernel>()) });
    }
}

unsafe extern "system" fn compute(
    kernel: *mut c_void,
    context: *mut OrtKernelContext,
) -> OrtStatusPtr {
    // SAFETY: made by `create`, and not destroyed yet. Several threads may execute one node, and a kernel is never changed.
    let kernel = unsafe { &*kernel.cast::<Kernel>() };
    kernel.api().guard(|| kernel.compute(&Context { api: kernel.api(), raw: context }))
}

/// Says that y has the shape and the type of x. Without it ONNX Runtime leaves out fusions behind the node.
///
/// An error would be a status that ONNX Runtime neither looks at nor releases: what is not known is left out. Outputs that a node
/// may lack are left out too, since ONNX Runtime 1.17 has no function that says whether it has them.
unsafe extern "system" fn infer_shape(
    op: *const OrtCustomOp,
    context: *mut OrtShapeInferContext,
) -> OrtStatusPtr {
    // SAFETY: as in `name`.
    let api = unsafe { Operator::of(op) }.api;
    // SAFETY: the context is ONNX Runtime's, for this callback.
    let status = api.guard(|| unsafe { give_y_the_shape_of_x(api, context) });
    api.text(status);
    OrtStatusPtr::default()
}

/// # Safety
///
/// `context` is ONNX Runtime's.
unsafe fn give_y_the_shape_of_x(api: Api, context: *mut OrtShapeInferContext) -> Result<(), Fault> {
    let mut of_x = ptr::null_mut();
    // SAFETY: the caller's promise. What is written is a shape that the context keeps.
    let dims = unsafe {
        api.check((api.0.ShapeInferContext_GetInputTypeShape)(context, 0, &raw mut of_x))?;
        api.dimensions(of_x)?
    };
    // No dimensions are those of a tensor whose rank is not known: a scalar has no axis.
    if dims.is_empty() {
        return Ok(());
    }
    let mut names = vec![ptr::null(); dims.len()];
    // SAFETY: as above; there is room for as many names, which live as long as the shape.
    api.check(unsafe { (api.0.GetSymbolicDimensions)(of_x, names.as_mut_ptr(), names.len()) })?;
    // A dimension that is not known and has no name gets one, since equal names are equal dimensions.
    let new_names: Vec<CString> = names.iter().map(|_| new_name()).collect();
    for ((name, dim), new_name) in names.iter_mut().zip(&dims).zip(&new_names) {
        // SAFETY: a name is NULL or a text that ends with a zero.
        let has_name = !name.is_null() && unsafe { **name } != 0;
        if *dim < 0 && !has_name {
            *name = new_name.as_ptr();
        } else if name.is_null() {
            *name = c"".as_ptr();
        }
    }
    let mut of_y = ptr::null_mut();
    // SAFETY: the shape is made here, and released once; texts and numbers are copied.
    unsafe {
        api.check((api.0.CreateTensorTypeAndShapeInfo)(&raw mut of_y))?;
        let mut set = || {
            // ONNX Runtime asks one operator of a name for all of its types: y has that of x.
            let mut element = ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
            api.check((api.0.GetTensorElementType)(of_x, &raw mut element))?;
            api.check((api.0.SetTensorElementType)(of_y, element))?;
            api.check((api.0.SetDimensions)(of_y, dims.as_ptr(), dims.len()))?;
            api.check((api.0.SetSymbolicDimensions)(of_y, names.as_mut_ptr(), names.len()))?;
            api.check((api.0.ShapeInferContext_SetOutputTypeShape)(context, 0, of_y))
        };
        let result = set();
        (api.0.ReleaseTensorTypeAndShapeInfo)(of_y);
        result
    }
}

/// A name that no other dimension has.
fn new_name() -> CString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("evenkeel_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    CString::new(name).unwrap_or_default()
}
